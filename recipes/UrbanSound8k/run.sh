#!/usr/bin/env bash
# UrbanSound8K: its manifest, the accuracy of a model on it, and the rows of the papers' tables on it.
#
#   bash recipes/UrbanSound8k/run.sh DATA MODEL [OPTION …]
#
#   DATA    UrbanSound8K
#   MODEL   a run's or a released folder; or published weights, with --model and what else evaluate.py takes
#
# The result is in results/urbansound8k. STAGES="prepare score" by default; the stage rows runs all rows of
# recipes/tables/zero_shot.sh on this corpus that can run here; its --dry-run says for how long.
# Of a part of the corpus only the stage score: give evaluate.py's --subset listed after MODEL.
set -euo pipefail
if [ $# -lt 2 ] || [ "$1" = --help ]; then sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; fi
data=$(realpath "$1") model=$2
shift 2
[ -e "$model" ] && model=$(realpath "$model")
cd "$(dirname "$0")/../.."
stages=${STAGES:-prepare score}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT-0}  # wait without spinning

wanted() { case " $stages " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

if wanted prepare; then
    python data_prep/urbansound8k_prepare.py --data_folder "$data" --manifest_folder results/urbansound8k/manifests
fi
if wanted score; then
    python evaluate.py hparams/urbansound8k.yaml --data_folder "$data" --weights "$model" \
        --output_folder results/urbansound8k/scores "$@"
fi
if wanted rows; then
    URBANSOUND8K_FOLDER=$data bash recipes/tables/zero_shot.sh --rows "*_urbansound8k"
fi
