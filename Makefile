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
EVERYTHING := -e '.[cvxpylayers,plot,examples]' --group dev
FOLDERS := optlayers examples tests docs
WORKERS ?= 2

# Small networks on several threads wait for each other as soon as something else runs.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test lint types unit coverage site-opens test-slow test-lowest test-newest test-bare fuzz fuzz-bounds docs docs-serve bench bench-structures bench-solvers bench-small bench-big gpu format constraints clean distclean

help:
	@echo "make demo [DATA=DIR]   train the rationale example and compare the methods (under 3 minutes)"
	@echo "make test              everything CI runs: lint, types, tests, documentation"
	@echo "make lint|types|unit   one part of it (WORKERS=2 processes); make format repairs what ruff can repair"
	@echo "make test-slow         what CI leaves out: on more sets what a quicker test holds on one"
	@echo "make coverage          the tests once more, and which lines of the library none of them runs (95 %)"
	@echo "make test-lowest       the quick tests with the lowest versions that pyproject.toml allows"
	@echo "make test-newest       the same with the newest of everything; make test-bare: without extras"
	@echo "make fuzz [ARGS=...]   judge every answer about 20,000 hostile sets; ARGS=\"--page\" writes the page of results"
	@echo "make fuzz-bounds       the kept cases once more, with every index of compiled loops checked"
	@echo "make docs|docs-serve   build the site into site/, or serve it while writing"
	@echo "make bench             time the layers against their peers; writes docs/results/"
	@echo "make bench-structures  the same for trees and graphs"
	@echo "make bench-solvers     the same for polytopes with several rows, against QP solvers (about 10 minutes)"
	@echo "make bench-small       the same for small calls, against torch by hand"
	@echo "make bench-big         the same for large networks, against Clarabel"
	@echo "make gpu [PY=python3]  on CUDA: the suite, the fuzz, rows of the benchmarks; writes docs/results/gpu.md"
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
	@$(PIP_INSTALL) pip # --group needs 25.1, newer than what comes with Python 3.11
	@$(PIP_INSTALL) $(EVERYTHING)
	@touch $(VENV)/.demo $@

demo: $(VENV)/.demo
	@$(PY) -m examples.quickstart $(if $(DATA),--data "$(DATA)") $(ARGS)

# Two cores are kept busy: types are checked while loops are compiled, which several processes would compile each
# for itself otherwise; the site is built while tests run; those that open its pages come last.
test: lint
	@$(MAKE) --no-print-directory types & types=$$!; $(PY) -m optlayers warmup >/dev/null 2>&1; wait $$types
	@mkdir -p .cache; $(MAKE) --no-print-directory docs >.cache/docs.log 2>&1 & docs=$$!; \
	failed=0; $(MAKE) --no-print-directory unit ARGS="-m 'not slow' --ignore=tests/test_site.py $(ARGS)" || failed=1; \
	wait $$docs || failed=1; cat .cache/docs.log; exit $$failed
	@$(MAKE) --no-print-directory site-opens

test-slow: $(VENV)/.dev
	@$(MAKE) --no-print-directory unit ARGS="-m slow $(ARGS)"

site-opens: $(VENV)/.dev
	@$(PY) -m pytest -q -n $(WORKERS) --dist load -m 'not slow' tests/test_site.py

lint: $(VENV)/.dev
	@$(PY) -m ruff check --quiet --output-format concise $(FOLDERS)
	@$(PY) -m ruff format --check --quiet $(FOLDERS)

format: $(VENV)/.dev
	@$(PY) -m ruff check --fix $(FOLDERS)
	@$(PY) -m ruff format $(FOLDERS)

types: $(VENV)/.dev
	@$(PY) -m pyright --pythonpath $(PY)

unit: $(VENV)/.dev
	@$(PY) -m pytest -q -n $(WORKERS) --dist loadfile $(ARGS)

# Following every line makes the tests half as long again; newer interpreters do it at hardly any cost.
coverage: $(VENV)/.dev
	@COVERAGE_CORE=$(shell $(PY) -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') \
		$(PY) -m pytest -q -n $(WORKERS) --dist loadfile --cov --cov-report=term $(ARGS)

# The same tests with other versions, each set in an environment of its own; the quick tests only.
QUICK = NUMBA_CACHE_DIR=$(abspath $(@:test-%=.venv-%))/numba $(@:test-%=.venv-%)/bin/python -m pytest -q -n $(WORKERS) --dist loadfile -m 'not slow' $(ARGS)
LOWEST_PYTHON ?= $(shell python3.11 -c 'import ensurepip, venv' >/dev/null 2>&1 && echo python3.11 || echo "$(PYTHON)")
define fresh
@echo "Installing into $(1) (the first time takes a few minutes; another torch can be a download of some GB)"
@rm -rf $(1) && $(2) -m venv $(1)
@$(1)/bin/python -m pip install -qq --disable-pip-version-check --upgrade pip
endef

# Old packages beside newer ones that they depend on: what those two deprecate is not about us.
test-lowest: .venv-lowest/.done
	@$(QUICK) -W ignore::DeprecationWarning -W ignore::PendingDeprecationWarning \
		-W 'ignore:Sparse CSR tensor support'

.venv-lowest/.done: pyproject.toml constraints.txt .ci/lowest
	$(call fresh,.venv-lowest,$(LOWEST_PYTHON))
	@.venv-lowest/bin/python .ci/lowest > .venv-lowest/constraints.txt
	@.venv-lowest/bin/python -m pip install -qq -c .venv-lowest/constraints.txt -e '.[cvxpylayers,plot,examples]' --group test
	@touch $@

test-newest: .venv-newest/.done
	@$(QUICK)

.venv-newest/.done: pyproject.toml
	$(call fresh,.venv-newest,$(PYTHON))
	@.venv-newest/bin/python -m pip install -qq -e '.[cvxpylayers,plot,examples]' --group test
	@touch $@

# Without matplotlib there is no plotting, and without Lightning there are no examples; pages show both.
test-bare: .venv-bare/.done
	@$(QUICK) --ignore=optlayers/plotting --ignore=tests/plotting --ignore=tests/examples --ignore=tests/test_docs.py

.venv-bare/.done: pyproject.toml constraints.txt
	$(call fresh,.venv-bare,$(PYTHON))
	@.venv-bare/bin/python -m pip install -qq -c constraints.txt -e . --group test
	@touch $@

fuzz: $(VENV)/.dev
	@$(PY) -m tests.fuzz $(ARGS)

# Compiled loops that check every index, in a cache of their own: reading past an array is silent otherwise.
fuzz-bounds: $(VENV)/.dev
	@NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(abspath .cache/numba-bounds) $(PY) -m tests.fuzz --kept $(ARGS)

# Not --quiet: it silences warnings before --strict can count them.
docs: $(VENV)/.dev
	@OPTLAYERS_PROGRESS=0 NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict 2>&1 | { grep -vE '^INFO|IPKernelApp' || true; }

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

bench-small: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(PY) -m tests.benchmarks.small $(ARGS)

# With the Python that is named it installs nothing: a machine with a GPU may have no network.
gpu: $(if $(filter $(VENV)/bin/python,$(PY)),$(VENV)/.dev)
	@OMP_NUM_THREADS=1 $(PY) -m tests.gpu $(ARGS)

bench-big: $(VENV)/.dev
	@OMP_NUM_THREADS=1 $(PY) -m tests.benchmarks.big $(ARGS)

bench: $(VENV)/.dev .venv-peers/.done
	@OMP_NUM_THREADS=1 $(PY) -m tests.benchmarks.report $(ARGS)

# From an environment of its own, so that nothing local slips in. `+cpu` is which build was at hand, not a version.
constraints:
	@rm -rf .venv-freeze && $(PYTHON) -m venv .venv-freeze
	@.venv-freeze/bin/python -m pip install -qq --upgrade pip
	@.venv-freeze/bin/python -m pip install -qq '.[cvxpylayers,plot,examples]' --group dev $(PINS)
	@{ grep '^#' constraints.txt; .venv-freeze/bin/python -m pip freeze --all --exclude optlayers --exclude wheel \
		| sed 's/+cpu$$//' | grep -viE '^(nvidia|cuda|triton)'; } > .venv-freeze/constraints.txt
	@mv .venv-freeze/constraints.txt constraints.txt && rm -rf .venv-freeze

clean:
	@rm -rf site build dist .cache .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis .benchmarks
	@find $(FOLDERS) -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	@rm -rf $(VENV) .venv-*
