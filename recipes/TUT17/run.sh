#!/usr/bin/env bash
# TUT Acoustic Scenes 2017: its manifest, the accuracy of a model on it, and the rows of the papers' tables on it.
#
#   bash recipes/TUT17/run.sh DATA MODEL [OPTION …]
#
#   DATA    the folder of the archives' top folders
#   MODEL   a run's or a released folder; or published weights, with --model and what else evaluate.py takes
#
# The result is in results/tut17. STAGES="prepare score" by default; the stage rows runs all rows of
# recipes/tables/zero_shot.sh on this corpus that can run here; its --dry-run says for how long.
# Of a part of the corpus only the stage score: give evaluate.py's --subset listed after MODEL.
set -euo pipefail
. "$(dirname "$0")/../corpus.sh"
corpus tut17 zero_shot "" "$0" "$@"
