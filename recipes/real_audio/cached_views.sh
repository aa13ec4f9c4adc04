#!/usr/bin/env bash
# How many cached views a clip needs: a PhiNet distilled from 1, 4 and 16 cached views of each clip, and from examples
# that are all new, as on the fly; the same number of steps each.
#
#   bash recipes/real_audio/cached_views.sh DATA WEIGHTS [OUTPUT]
#
#   DATA, WEIGHTS  as for run.sh
#   OUTPUT         results/real_audio/cached_views by default; SEEDS="1234 1235" for more than one
#
# Two cores: about half an hour and 3 GB of disk a seed. Stopped and run again, it goes on where it was.
set -euo pipefail
if [ $# -lt 2 ]; then sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; fi
data=$(realpath "$1") weights=$(realpath "$2")
cd "$(dirname "$0")/../.."
out=${3:-results/real_audio/cached_views}
seeds=${SEEDS:-1234}
export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1 # glibc keeps freed memory: fewer page faults, more memory
n_steps_of_all=32 # epochs over one view of each clip

corpora=(--esc50_folder "$data/ESC-50-master" --urbansound8k_folder "$data/UrbanSound8K")
[ -d "$data/AudioCaps" ] && corpora+=(--audiocaps_folder "$data/AudioCaps")
for seed in $seeds; do
    for views in 1 4 16 32; do # with 32 views and one epoch no example is seen twice
        run=$out/${views}_$seed
        python train.py hparams/distill_real_audio.yaml --teacher_weights "$weights" "${corpora[@]}" \
            --target_cache "$out/targets_$views" --view_seed 1234 --seed "$seed" --output_folder "$run" \
            --n_views "$views" --number_of_epochs $((n_steps_of_all / views))
        python evaluate.py hparams/esc50.yaml --data_folder "$data/ESC-50-master" --subset listed --folds "[5]" \
            --weights "$run" --output_folder "$run/esc50"
        python evaluate.py hparams/urbansound8k.yaml --data_folder "$data/UrbanSound8K" --subset listed --folds "[2]" \
            --weights "$run" --output_folder "$run/us8k"
    done
done
python recipes/real_audio/cached_views_report.py "$out"
