#!/usr/bin/env bash
# Distil a real AudioSet tagger on real audio without labels, and score teacher and students on folds not trained on.
#
#   bash recipes/real_audio/run.sh DATA WEIGHTS [OUTPUT]
#
#   DATA     has ESC-50-master/, UrbanSound8K/ and, if you have it, AudioCaps/ (whole corpora or parts)
#   WEIGHTS  mn04_as_mAP_432.pt of github.com/fschmid56/EfficientAT, with class_labels_indices.csv beside it
#   OUTPUT   results/real_audio by default
#
# Two cores: about two hours and 3 GB of disk. Stopped and run again, it goes on where it was. STAGES="score report" runs a part.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; fi
data=$(realpath "$1") weights=$(realpath "$2")
cd "$(dirname "$0")/../.."
out=${3:-results/real_audio}
stages=${STAGES:-phinet trunk score report}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT-0}  # wait without spinning
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_--1}

corpora=(--esc50_folder "$data/ESC-50-master" --urbansound8k_folder "$data/UrbanSound8K")
[ -d "$data/AudioCaps" ] && corpora+=(--audiocaps_folder "$data/AudioCaps")
common=(--teacher_weights "$weights" "${corpora[@]}")

wanted() { case " $stages " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

# From scratch: three sizes of PhiNet.                          name alpha t_zero embed_width epochs
phinets=("phinet_l 1.1 4 448 4" "phinet_m 0.7 4 256 6" "phinet_s 0.4 3 96 3")
# From the tagger's own trunk: time twice as coarse, and this share of every block's channels (48 % of the MACs).
trunks=("trunk_90 0.9")

if wanted phinet; then
    for row in "${phinets[@]}"; do
        read -r name alpha t_zero embed_width epochs <<<"$row"
        python train.py hparams/distill_real_audio.yaml "${common[@]}" --output_folder "$out/$name/1234" \
            --target_cache "$out/targets" --alpha "$alpha" --t_zero "$t_zero" --embed_width "$embed_width" --number_of_epochs "$epochs"
    done
fi
if wanted trunk; then
    for row in "${trunks[@]}"; do
        read -r name fraction <<<"$row"
        python train.py hparams/distill_tagger_trunk.yaml "${common[@]}" --output_folder "$out/$name/1234" \
            --target_cache "$out/targets_trunk" --fraction "$fraction"
    done
fi
score() {  # name, output, options of the model
    local name=$1
    shift
    python evaluate.py hparams/esc50.yaml --data_folder "$data/ESC-50-master" --subset listed --folds "[5]" \
        --output_folder "$out/scores/$name/esc50_fold5" "$@"
    python evaluate.py hparams/urbansound8k.yaml --data_folder "$data/UrbanSound8K" --subset listed --folds "[2]" \
        --output_folder "$out/scores/$name/urbansound8k_fold2" "$@"
}
prior=$out/phinet_m/1234/tag_calibration.json  # of the unlabelled training clips
if wanted score; then
    teacher=(--model tagger --weights "$weights" --prior "$prior")
    score teacher "${teacher[@]}"
    # All folds that are there: the teacher has been trained on none of them.
    python evaluate.py hparams/esc50.yaml --data_folder "$data/ESC-50-master" --subset listed \
        --output_folder "$out/scores/teacher/esc50" "${teacher[@]}"
    python evaluate.py hparams/urbansound8k.yaml --data_folder "$data/UrbanSound8K" --subset listed \
        --output_folder "$out/scores/teacher/urbansound8k" "${teacher[@]}"
    for row in "${phinets[@]}" "${trunks[@]}"; do
        read -r name _ <<<"$row"
        score "$name" --weights "$out/$name/1234"
    done
fi
if wanted report; then
    rows=()
    for name in phinet_l phinet_m phinet_s trunk_90; do
        rows+=(--row "$name=$out/scores/$name/esc50_fold5,$out/scores/$name/urbansound8k_fold2")
    done
    echo "The teacher on everything that is there:"
    python recipes/report.py --output "$out/report_teacher" \
        --row "teacher mn04=$out/scores/teacher/esc50,$out/scores/teacher/urbansound8k"
    echo "Teacher and students on the folds that no student has heard:"
    python recipes/report.py --output "$out/report" \
        --row "teacher mn04=$out/scores/teacher/esc50_fold5,$out/scores/teacher/urbansound8k_fold2" "${rows[@]}"
fi
