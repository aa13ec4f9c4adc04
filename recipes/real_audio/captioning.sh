#!/usr/bin/env bash
# Caption real audio without having learnt from a single audio–caption pair, and distil that captioner into small ones.
#
#   bash recipes/real_audio/captioning.sh DATA [WEIGHTS] [OUTPUT]
#
#   DATA     has AudioCaps/ and clotho/ (caption tables, and the clips that are scored), ESC-50-master/ and UrbanSound8K/
#            (audio to distil on, without labels); whole corpora or parts
#   WEIGHTS  mn04_as_mAP_432.pt of github.com/fschmid56/EfficientAT, with class_labels_indices.csv beside it; sought in
#            DATA if not given
#   OUTPUT   results/captioner/real_audio by default
#
# 1. A decoder learns from 69,000 captions alone, in tags that a tagger would have heard.
# 2. Shown what the tagger does hear, it captions every real clip, and mixtures of the clips without captions.
# 3. Two students (an mn04 that begins as the tagger, a PhiNet from scratch) learn its words and its clip embedding.
# 4. All are scored on the clips with references; twenty clips' captions are written side by side, to be read.
#
# Two cores: about an hour, 2 GB. Stopped and run again, it goes on where it was. STAGES="score report" runs a part.
set -euo pipefail
if [ $# -lt 1 ] || [ "$1" = -h ] || [ "$1" = --help ]; then sed -n '2,18s/^# \{0,1\}//p' "$0"; exit 2; fi
data=$(realpath "$1")
weights=${2:-$(find -L "$data" -maxdepth 4 -name 'mn04_as*.pt' -print -quit)}
if [ -z "$weights" ] || [ ! -f "$weights" ]; then
    echo "captioning.sh: no tagger's weights${2:+ at $2}; give mn04_as_mAP_432.pt as the second argument:" \
        "https://github.com/fschmid56/EfficientAT/releases, with class_labels_indices.csv beside it" >&2
    exit 2
fi
weights=$(realpath "$weights")
cd "$(dirname "$0")/../.."
out=${3:-results/captioner/real_audio}
stages=${STAGES:-teacher students score report}
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT-0}  # wait without spinning
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_--1}
wanted() { case " $stages " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

teacher=$out/teacher/1234
if wanted teacher && [ ! -f "$teacher/student/config.json" ]; then
    python train.py hparams/train_text_captioner.yaml --output_folder "$teacher" --teacher_weights "$weights" \
        --audiocaps_folder "$data/AudioCaps" --clotho_folder "$data/clotho"
fi
if wanted students; then
    common=(--teacher_weights "$teacher" --listener_weights "$weights" --target_cache "$out/targets"
        --esc50_folder "$data/ESC-50-master" --urbansound8k_folder "$data/UrbanSound8K" --n_target_processes "${JOBS:-2}")
    python train.py hparams/distill_captioner_real_audio.yaml "${common[@]}" --output_folder "$out/mn04/1234" \
        --encoder_weights "$weights"
    python train.py hparams/distill_captioner_real_audio.yaml "${common[@]}" --output_folder "$out/phinet/1234" \
        --captioner phinet --captioner.front_end efficientat --hop_length 640 --lr 0.003 --alpha 0.7 --t_zero 4 \
        --squeeze_excite True --h_swish True --batchnorm_momentum 0.05 --encoder_dropout 0.0 --embed_norm True
fi
score() {  # name, options of the model
    local name=$1
    shift
    python evaluate.py hparams/audiocaps.yaml --data_folder "$data/AudioCaps" --splits "[val, test]" \
        --output_folder "$out/scores/$name/audiocaps" "$@"
    python evaluate.py hparams/clotho.yaml --data_folder "$data/clotho" --split "[validation, evaluation]" \
        --subset present \
        --output_folder "$out/scores/$name/clotho" "$@"
}
if wanted score; then
    score teacher --model text_captioner --weights "$teacher" --listener_weights "$weights"
    score mn04 --weights "$out/mn04/1234"
    score phinet --weights "$out/phinet/1234"
fi
if wanted report; then
    rows=()
    for row in "captioner from text alone=teacher" "mn04 student=mn04" "PhiNet student=phinet"; do
        name=${row#*=}
        rows+=(--row "${row%%=*}=$out/scores/$name/audiocaps,$out/scores/$name/clotho")
    done
    python recipes/caption_report.py --output "$out/report" "${rows[@]}"
    python recipes/side_by_side.py --output "$out/report/side_by_side.md" --n_clips 20 "${rows[@]}"
    echo "The tagger was trained on AudioSet, of which AudioCaps is a part: scores on AudioCaps are not those of a system"
    echo "to which its audio is new. Captions to read: $out/report/side_by_side.md"
fi
