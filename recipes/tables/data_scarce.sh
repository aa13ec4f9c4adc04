#!/usr/bin/env bash
# The captioning paper's data-scarce table: each loss with 100, 50, 25 and 10 % of the labels.
#
#   bash recipes/tables/data_scarce.sh --dry-run            every row, its hours and disk, and what it lacks here
#   bash recipes/tables/data_scarce.sh --rows smoke         every row in a tiny form on the built-in corpus; minutes
#   bash recipes/tables/data_scarce.sh --rows "B6_contrastive*" --seeds "1234 1235" --keep-going --jobs 2
#
# The rows of the group paper want a GPU, AudioCaps or Clotho and published weights; those of the group soundscapes make
# their own corpus and want 2 CPU cores.
# Which environment variables name corpora and weights is in README.md beside this file. Stopped at any moment and
# run again, it goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT-0}  # wait without spinning
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_--1}  # keep freed memory
exec python recipes/tables/run_rows.py data_scarce "$@"
