#!/usr/bin/env bash
# The captioning paper's claims in small, on synthesised soundscapes: five losses, four shares of the labelled scenes,
# three seeds. A teacher is trained first; its targets are cached once; then 60 students, each scored on 300 scenes, and
# 12 more of a loss that is not the paper's (mse_student: no learnable projection on the teacher's side).
#
#   bash recipes/captioning/ladder.sh [OUTPUT]          OUTPUT: results/captioner/ladder by default
#
#   JOBS=2                  students trained at once; each uses one core
#   LOSSES="supervised mse" MORE="" FRACTIONS="1.0 0.1" SEEDS="1234"      a part of the ladder
#
# Two cores: about an hour and a half, 1 GB. Stopped and run again, it goes on where it was: what is scored stays.
set -euo pipefail
if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 0; fi
cd "$(dirname "$0")/../.."
export out=${1:-results/captioner/ladder}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_--1}
losses=${LOSSES:-supervised sequence mse contrastive audio_only}
more=${MORE-mse_student}
fractions=${FRACTIONS:-1.0 0.5 0.25 0.1}
seeds=${SEEDS:-1234 1235 1236}
recipe=hparams/distill_captioner_soundscapes.yaml
export recipe corpus=$out/soundscapes

# A captioner of three times the size, on 4000 labelled scenes of its own.
teacher=$out/teacher/1234
export teacher
if [ ! -f "$teacher/student/config.json" ]; then
    python train.py $recipe --output_folder "$teacher" --soundscapes_folder "$corpus" --train_split teacher \
        --n_scenes 4000 --examples_per_epoch 4000 --number_of_epochs 12 --captioner mn --batchnorm_momentum 0.01 \
        --decoder_width 192 --noprogressbar
fi
score() {  # a run's folder
    python evaluate.py hparams/soundscapes_captions.yaml --weights "$1" --output_folder "$1/scores" \
        --data_folder "$corpus" --metrics "[cider_d, bleu_4, rouge_l]" --noprogressbar
}
export -f score
[ -f "$teacher/scores/metrics.json" ] || score "$teacher"

cell() {  # loss, fraction, seed
    local folder=$out/$1_$2/$3 from_teacher=(--teacher_weights "$teacher" --teacher_dim 384 --target_cache "$out/targets")
    if [ -f "$folder/scores/metrics.json" ]; then return; fi
    local options=() both=(--terms.sequence.weight 1 --terms.encoder.weight 1)
    case $1 in
        supervised) from_teacher=() ;;
        sequence) options=(--terms.sequence.weight 1) ;;
        mse) options=("${both[@]}" --encoder_kd_kind mse) ;;
        mse_student) options=("${both[@]}" --encoder_kd_kind mse --encoder_kd_projection student) ;;
        contrastive) options=("${both[@]}") ;;
        audio_only) options=("${both[@]}" --rest_as_unlabelled True --n_unlabelled_scenes 1200) ;;
        *) echo "ladder.sh: no loss $1; there are supervised, sequence, mse, contrastive, audio_only, mse_student" >&2; return 2 ;;
    esac
    mkdir -p "$folder"
    if ! { python train.py $recipe --output_folder "$folder" --soundscapes_folder "$corpus" --seed "$3" \
            --labelled_fraction "$2" --noprogressbar ${from_teacher[@]+"${from_teacher[@]}"} ${options[@]+"${options[@]}"} &&
        score "$folder"; } >"$folder/output.txt" 2>&1; then
        echo "failed: $1 at $2, seed $3; see $folder/output.txt" >&2
        tail -n 3 "$folder/output.txt" >&2
        return 1
    fi
    echo "done: $1 at $2, seed $3"
}
export -f cell

rows=()
for some in "$losses" "$more"; do
    for seed in $seeds; do for fraction in $fractions; do for loss in $some; do rows+=("$loss $fraction $seed"); done; done; done
done
# The first row with all clips makes the cache, which later rows then only read.
case " $losses " in *" audio_only "*) cell audio_only "${fractions%% *}" "${seeds%% *}" ;; esac
printf '%s\n' "${rows[@]}" | xargs -P "${JOBS:-2}" -L 1 bash -c 'cell "$@"' cell
python recipes/captioning/ladder_report.py --folder "$out"
