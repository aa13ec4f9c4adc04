#!/usr/bin/env bash
# Fig. 2a: accuracy with a part of the latent dimensions masked, and with their rows removed.
#
#   bash recipes/tables/pruning.sh --dry-run            every row, its hours and disk, and what it lacks here
#   bash recipes/tables/pruning.sh --rows smoke         every row in a tiny form on the built-in corpus; minutes
#   bash recipes/tables/pruning.sh --rows "A7_student*" --seeds "1234 1235" --keep-going --jobs 2
#
# The rows of the group paper prune what zero_shot.sh trains (which is trained first where it is missing); those of the
# group real want 2 CPU cores and parts of two corpora.
# Which environment variables name corpora and weights is in README.md beside this file. Stopped at any moment and
# run again, it goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT-0}  # wait without spinning
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_--1}  # keep freed memory
exec python recipes/tables/run_rows.py pruning "$@"
