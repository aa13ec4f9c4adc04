#!/usr/bin/env bash
# Fig. 2b: parameters and multiply-accumulates of teacher and students; no weights or corpora are needed.
#
#   bash recipes/tables/complexity.sh --dry-run            every row, its hours and disk, and what it lacks here
#   bash recipes/tables/complexity.sh --rows smoke         every row in a tiny form on the built-in corpus; minutes
#   bash recipes/tables/complexity.sh --rows "A5*" --seeds "1234 1235" --keep-going --jobs 2
#
# About ten minutes on 2 CPU cores for all rows: networks are built with random weights and counted.
# Which environment variables name corpora and weights is in README.md beside this file. Stopped at any moment and
# run again, it goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT-0}  # wait without spinning
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_--1}  # keep freed memory
exec python recipes/tables/run_rows.py complexity "$@"
