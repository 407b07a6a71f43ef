# The commands of this repository. Each builds $(VENV) first when pyproject.toml or constraints.txt is newer.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV ?= .venv
PY := $(VENV)/bin/python
# The newest interpreter that is recent enough and can make a virtual environment; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo "$$p"; break; }; done)
PIP_INSTALL = $(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt
FOLDERS := optlayers examples tests docs

.PHONY: help demo test lint types unit fuzz docs docs-serve bench bench-structures bench-solvers format constraints clean distclean

help:
	@echo "make demo [DATA=DIR]   train the rationale example and compare the methods (under 3 minutes)"
	@echo "make test              everything CI runs: lint, types, tests with coverage, documentation"
	@echo "make lint|types|unit   one part of it; make format repairs what ruff can repair"
	@echo "make fuzz [ARGS=...]   project onto 20,000 hostile polytopes and judge every answer (about 5 minutes)"
	@echo "make docs|docs-serve   build the site into site/, or serve it while writing"
	@echo "make bench             time the layers against their peers; writes docs/results/"
	@echo "make bench-structures  the same for trees and graphs"
	@echo "make bench-solvers     the same for polytopes with several rows, against QP solvers (about 10 minutes)"
	@echo "make constraints       pin the newest versions that work together"
	@echo "make clean|distclean   remove what the commands made; distclean also $(VENV)"

$(PY):
	@test -n "$(PYTHON)" || { echo "optlayers needs Python 3.11 or newer with the venv module; set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(PY)
	@echo "Installing optlayers with its examples into $(VENV) (the first time takes a few minutes)"
	@$(PIP_INSTALL) -e '.[examples]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(PY)
	@echo "Installing optlayers with its development tools into $(VENV) (the first time takes a few minutes)"
	@$(PIP_INSTALL) -e '.[cvxpylayers,plot,examples,docs,dev]'
	@touch $(VENV)/.demo $@

demo: $(VENV)/.demo
	@$(PY) -m examples.quickstart $(if $(DATA),--data "$(DATA)") $(ARGS)

test: lint types docs unit # the tests open the pages that were built

lint: $(VENV)/.dev
	@$(PY) -m ruff check --quiet --output-format concise $(FOLDERS)
	@$(PY) -m ruff format --check --quiet $(FOLDERS)

format: $(VENV)/.dev
	@$(PY) -m ruff check --fix $(FOLDERS)
	@$(PY) -m ruff format $(FOLDERS)

types: $(VENV)/.dev
	@$(PY) -m pyright --pythonpath $(PY)

unit: $(VENV)/.dev
	@$(PY) -m pytest -q --cov --cov-report=term $(ARGS)

fuzz: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(PY) -m tests.fuzz $(ARGS)

# Not --quiet: it silences warnings before --strict can count them.
docs: $(VENV)/.dev
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict 2>&1 | { grep -vE '^INFO|IPKernelApp' || true; }

docs-serve: $(VENV)/.dev
	@$(PY) -m mkdocs serve

# Peers whose pins exclude ours; without them the page says that they could not run.
.venv-peers/.done: tests/benchmarks/peers.txt | $(PY)
	@echo "Installing the peers into .venv-peers (the first time takes a few minutes)"
	@{ $(PY) -m venv .venv-peers && .venv-peers/bin/python -m pip install -qq --disable-pip-version-check \
		-r tests/benchmarks/peers.txt && touch $@; } || { rm -rf .venv-peers; echo "The peers did not install"; }

.venv-parsers/.done: tests/benchmarks/parsers.txt | $(PY)
	@echo "Installing the parsers into .venv-parsers (the first time takes a few minutes)"
	@{ $(PY) -m venv .venv-parsers && .venv-parsers/bin/python -m pip install -qq --disable-pip-version-check --no-deps \
		-r tests/benchmarks/parsers.txt && touch $@; } || { rm -rf .venv-parsers; echo "The parsers did not install"; }

bench-structures: $(VENV)/.dev .venv-parsers/.done
	@OMP_NUM_THREADS=1 $(PY) -m tests.benchmarks.structures $(ARGS)

bench-solvers: $(VENV)/.dev .venv-peers/.done
	@OMP_NUM_THREADS=1 $(PY) -m tests.benchmarks.solvers $(ARGS)

bench: $(VENV)/.dev .venv-peers/.done
	@OMP_NUM_THREADS=1 $(PY) -m tests.benchmarks.report $(ARGS)

# From an environment of its own, so that nothing local slips in. `+cpu` is which build was at hand, not a version.
constraints:
	@rm -rf .venv-freeze && $(PYTHON) -m venv .venv-freeze
	@.venv-freeze/bin/python -m pip install -qq '.[cvxpylayers,plot,examples,docs,dev]' $(PINS)
	@{ grep '^#' constraints.txt; .venv-freeze/bin/python -m pip freeze --all --exclude optlayers --exclude pip --exclude wheel \
		| sed 's/+cpu$$//' | grep -viE '^(nvidia|cuda|triton)'; } > .venv-freeze/constraints.txt
	@mv .venv-freeze/constraints.txt constraints.txt && rm -rf .venv-freeze

clean:
	@rm -rf site build dist .cache .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis .benchmarks
	@find $(FOLDERS) -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	@rm -rf $(VENV) .venv-*
