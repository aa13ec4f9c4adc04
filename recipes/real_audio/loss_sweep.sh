#!/usr/bin/env bash
# Which distillation loss, at which temperature: one small PhiNet with the recipe's hints, the same cached targets, three
# seeds, scored on classes of ESC-50 that no training clip has.
#
#   bash recipes/real_audio/loss_sweep.sh DATA ALL WEIGHTS [OUTPUT]
#
#   DATA     has UrbanSound8K/ and an ESC-50-master/ whose table lists a part of the classes: those that are trained on
#   ALL      has an ESC-50-master/ with all classes: those that DATA lacks are held out
#   WEIGHTS  mn04_as_mAP_432.pt of github.com/fschmid56/EfficientAT, with class_labels_indices.csv beside it
#   OUTPUT   results/real_audio/loss_sweep by default; SEEDS="1234 1235", ONLY="cosine affinity_0.07" run a part
#
# A run takes about four minutes of one core, all of them three hours; EPOCHS and VIEWS (of each clip) make it longer.
# Stopped and run again, it goes on where it was.
set -euo pipefail
if [ $# -lt 3 ]; then sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; fi
data=$(realpath "$1") all=$(realpath "$2") weights=$(realpath "$3")
cd "$(dirname "$0")/../.."
out=${4:-results/real_audio/loss_sweep}
export OMP_NUM_THREADS=${OMP_NUM_THREADS-1} MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=-1
bank=$out/audioset_labels.npz # the 527 labels of the tagger, as texts of the bank

# Name of the row, and its options.
losses=(
    "cosine --student_loss cosine"
    "affinity_0.07 --student_loss affinity --temperature 0.07"
    "affinity_texts_0.07 --student_loss affinity --temperature 0.07 --texts $bank"
    "interactive_0.07 --student_loss interactive --temperature 0.07"
    "siglip_0.1 --student_loss siglip --temperature 0.1"
    "contrastive_0.07 --student_loss contrastive --temperature 0.07"
    "centred --student_loss centred"
    "affinity_0.2 --student_loss affinity --temperature 0.2"
    "affinity_0.02 --student_loss affinity --temperature 0.02"
    "affinity_texts_0.2 --student_loss affinity --temperature 0.2 --texts $bank"
    "affinity_texts_0.02 --student_loss affinity --temperature 0.02 --texts $bank"
    "interactive_0.2 --student_loss interactive --temperature 0.2"
    "interactive_0.02 --student_loss interactive --temperature 0.02"
    "siglip_0.03 --student_loss siglip --temperature 0.03"
)
common=(--teacher tagger_sentence --teacher_weights "$weights" --corpus_subset listed
    --esc50_folder "$data/ESC-50-master" --esc50_folds "[1, 2, 3]"
    --urbansound8k_folder "$data/UrbanSound8K" --urbansound8k_folds "[1]"
    --n_views "${VIEWS:-12}" --view_seed 1 --target_cache "$out/targets" --n_target_processes "${PROCESSES:-0}"
    --n_mels 32 --hop_length 1280 --alpha 0.5 --number_of_epochs "${EPOCHS:-4}")

score() { # output folder, options of the model
    [ -f "$1/metrics.json" ] || python evaluate.py hparams/esc50.yaml --data_folder "$all/ESC-50-master" \
        --subset listed --folds "[5]" --output_folder "$1" "${@:2}"
}
for seed in ${SEEDS:-1234 1235 1236}; do
    for row in "${losses[@]}"; do
        read -r name options <<<"$row"
        case " ${ONLY:-$name} " in *" $name "*) ;; *) continue ;; esac
        run=$out/$name/$seed
        if [[ $options == *--texts* && ! -f $bank ]]; then
            python -m tinyclap labels "$(dirname "$weights")/class_labels_indices.csv" \
                --model "$out/cosine/$seed" --out "$bank"
        fi
        # shellcheck disable=SC2086 # several options
        [ -f "$run/student/config.json" ] || python train.py hparams/distill_real_audio.yaml "${common[@]}" $options \
            --seed "$seed" --output_folder "$run"
        score "$run/esc50" --weights "$run"
    done
done
score "$out/teacher" --weights "$weights" --model tagger_sentence
python recipes/real_audio/loss_sweep_report.py "$out" "$data/ESC-50-master/meta/esc50.csv"
