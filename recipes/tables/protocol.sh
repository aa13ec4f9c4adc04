#!/usr/bin/env bash
# What the rows on real audio rest on: recordings shared with training, the score without them, prompts, two models
# compared. Reads finished rows of zero_shot.csv and pruning.csv; writes results/protocol and, with KEEP=1, what the
# page protocol.md shows.
#
#   bash recipes/tables/protocol.sh [OUTPUT]        OUTPUT: as of run_rows.py, results/tables
#
# ESC50_FOLDER and URBANSOUND8K_FOLDER name the corpora. A minute on two cores.
set -euo pipefail
if [ "${1:-}" = -h ] || [ "${1:-}" = --help ]; then sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0; fi
scores=$(realpath "${1:-results/tables}")/scores
esc50=$(realpath "${ESC50_FOLDER:?name the folder of ESC-50}")/meta/esc50.csv
urbansound8k=$(realpath "${URBANSOUND8K_FOLDER:?name the folder of UrbanSound8K}")/metadata/UrbanSound8K.csv
cd "$(dirname "$0")/../.."
out=results/protocol

python recipes/leaks.py --together --train "ESC-50 folds 1–3=$esc50::1,2,3" --train "UrbanSound8K fold 1=$urbansound8k::1" \
    --test "ESC-50 fold 5=$esc50::5" --test "UrbanSound8K fold 2=$urbansound8k::2" --output "$out/leaks" \
    --predictions "$scores/real_tag_m_urbansound8k/1234" --test_name "UrbanSound8K fold 2"
python recipes/prompt_study.py --output "$out/prompts" \
    --row "teacher, tag space=$scores/real_teacher_tag_esc50/-" --row "teacher, tag space=$scores/real_teacher_tag_urbansound8k/-" \
    --row "PhiNet M, tag space, seed 1234=$scores/real_tag_m_esc50/1234" \
    --row "PhiNet M, tag space, seed 1234=$scores/real_tag_m_urbansound8k/1234"
python recipes/compare.py "$scores/real_tag_s_urbansound8k/1234" "$scores/real_tag_m_urbansound8k/1234" \
    --labels "PhiNet S" "PhiNet M" --output "$out/compare"
[ -z "${KEEP:-}" ] || python recipes/update_readme.py --keep_protocol "$out"
