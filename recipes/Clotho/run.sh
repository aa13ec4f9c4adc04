#!/usr/bin/env bash
# Clotho: its manifest, the captions of a model on its evaluation part, and the rows of the papers' tables on it.
#
#   bash recipes/Clotho/run.sh DATA MODEL [OPTION …]
#
#   DATA    the folder of its archives
#   MODEL   a run's or a released folder; or published weights, with --model and what else evaluate.py takes
#
# The result is in results/clotho. STAGES="prepare score" by default; the stage rows runs all rows of
# recipes/tables/captioning.sh on this corpus that can run here; its --dry-run says for how long.
# Of a part of the corpus only the stage score: give evaluate.py's --subset listed after MODEL.
set -euo pipefail
. "$(dirname "$0")/../corpus.sh"
corpus clotho captioning "evaluation" "$0" "$@"
