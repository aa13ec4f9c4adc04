#!/usr/bin/env bash
# Table 1: zero-shot classification of teacher and students, as published, with defects mended, and beyond.
#
#   bash recipes/tables/zero_shot.sh --dry-run            every row, its hours and disk, and what it lacks here
#   bash recipes/tables/zero_shot.sh --rows smoke         every row in a tiny form on the built-in corpus; minutes
#   bash recipes/tables/zero_shot.sh --rows "A3* A6*" --seeds "1234 1235" --keep-going --jobs 2
#
# The rows of the group paper want a GPU and four corpora of training audio: weeks in all, and hours a row (--dry-run
# adds them up). Those of the group real want 2 CPU cores and parts of two corpora. Which environment variables name
# corpora and weights is in README.md beside this file. Stopped at any moment and run again, it goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT-0}  # wait without spinning
export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_-0} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_--1}  # keep freed memory
exec python recipes/tables/run_rows.py zero_shot "$@"
