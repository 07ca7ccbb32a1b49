# The one way to set up, check, test and show the project. Every target does the set-up it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench chaos lock

help: ## Print this list.
	@awk -F ': .*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Build .venv from requirements.lock (PYTHON=python3.12 to choose the interpreter).

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Unitscope needs Python 3.11 or newer, $(PYTHON) is %d.%d; name another one: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) cannot build virtual environments; install its venv module (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: setup ## Draw pictures, train a small network on them, look into it (FLAGS="--minutes 1").
	$(BIN)/unitscope demo $(FLAGS)

test: check ## Everything that CI runs: check, then the tests.
	$(BIN)/pytest

check: setup ## Lint, format and types, without changing a file.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup ## Run every benchmark.
	$(BIN)/python -m benchmarks

chaos: setup ## Kill drivers, workers, raylets, nodes at random, compare the tables (N=100 SEED=0).
	$(BIN)/python -m tests.chaos --n $(or $(N),100) --seed $(or $(SEED),0) $(FLAGS)

lock: setup ## Pin the dependencies of pyproject.toml anew (FLAGS=--upgrade for newer versions).
	$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 $(FLAGS) --no-emit-index-url \
		--no-emit-find-links --no-annotate --no-header --quiet --output-file requirements.lock
