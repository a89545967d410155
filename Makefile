# `make help` lists the commands. Every command builds .venv first when it is missing or pyproject.toml has changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO := $(VENV)/.demo-installed
DEV := $(VENV)/.dev-installed
PICTURES ?=
DATA ?=
SUITE ?= rd

# Two processes of one compute thread each: networks in tests are small, a pool of threads would only slow them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-slow decode-exact fuzz lint format types imports bench clean

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
	  while IFS="$$(printf '\t')" read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "smalto needs Python 3.11 or later; name one with make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(DEMO): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[demo]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[demo,dev,bench,export]'
	@touch $@ $(DEMO)

demo: $(DEMO) ## encode sample photographs and answer every task; PICTURES="a.png b.jpg" takes your own
	$(BIN)/smalto demo $(PICTURES) -o demo

test: lint types imports test-fast ## what CI runs: format, lint, types, import contract, tests

test-fast: $(DEV) ## the tests alone, without the slow ones
	$(PYTEST) -m "not slow"

test-slow: $(DEV) ## the slow tests: real training, compilers, peers, long properties
	$(PYTEST) -m slow

decode-exact: $(DEV) ## bit-exactness of decoding across threads, batches, layouts, compilers and devices
	$(BIN)/python -m pytest -m exact tests/exact

fuzz: $(DEV) ## 100,000 mutated files through info, verify, decode and the Python interface
	$(BIN)/python -m smalto.bench.fuzz

lint: $(DEV) ## formatting and lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(DEV) ## static types
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: $(DEV) ## the import contract
	$(BIN)/lint-imports

format: $(DEV) ## rewrite the sources as the formatter wants them
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(DEV) ## SUITE=rd|coder|speed with DATA=folder, ours beside peers
	$(BIN)/smalto bench $(SUITE) $(if $(DATA),--data $(DATA))

clean: ## remove .venv, caches and built files
	rm -rf $(VENV) build dist demo .pytest_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
