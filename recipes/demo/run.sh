#!/usr/bin/env bash
# The demonstration: a small CLAP is trained on synthesised soundscapes, distilled into two PhiNets, and all three are
# scored zero-shot. No download, no question; minutes on two cores. Run again, it finds everything done and only scores.
#
#   bash recipes/demo/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
# A training step allocates and frees large blocks; by default glibc returns each to the system and faults it in again.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT-0}  # wait without spinning
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_--1}

teacher=results/train_clap/soundscapes/1234
student=results/distill_phinet/soundscapes/1234
smaller=results/distill_phinet/soundscapes_a0.25/1234

echo "== 1 of 3: teacher and student (the bare command: hparams/demo/distill_phinet.yaml, which trains its teacher first)"
python train.py hparams/distill_phinet.yaml
echo "== 2 of 3: a smaller student"
python train.py hparams/demo/distill_phinet.yaml --alpha 0.25 --output_folder "$smaller"
echo "== 3 of 3: scores on single sounds that neither has heard"
for run in "$teacher" "$student" "$smaller"; do
    python evaluate.py hparams/soundscapes.yaml --weights "$run"
done
python recipes/report.py --output results/demo \
    --row "teacher (our CLAP)=${teacher}_scores/soundscapes" \
    --row "PhiNet α 0.5=${student}_scores/soundscapes" \
    --row "PhiNet α 0.25=${smaller}_scores/soundscapes"
