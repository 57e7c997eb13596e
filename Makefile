# `make demo` and `make test` work on a fresh machine with python3 (3.11 or newer) and make: they make what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tests of a file stay in one process; there are as many as there are cores, and they share what is left to do.
TESTS := $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder
ifdef ANTSMEM_TEST_SEED
TESTS += --hypothesis-seed=$(ANTSMEM_TEST_SEED) --randomly-seed=$(ANTSMEM_TEST_SEED)
endif
# uv installs the same packages sooner, where it is there.
INSTALL := $(shell command -v uv >/dev/null 2>&1 && echo "uv pip install -q --python $(BIN)/python" \
             || echo "$(BIN)/python -m pip install -q --disable-pip-version-check") -c constraints.txt

# Byte code is written wherever that was switched off: the tests start the program hundreds of times.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test check format docs servers soak bench pins clean

help:
	@echo "make demo     an agent is backed up, lost, and brought back: a minute"
	@echo "make test     all tests that this machine can run"
	@echo "make check    format, lint, types, layers, tests: what a change has to pass"
	@echo "make format   put the code into the format that check wants"
	@echo "make docs     sessions, links and reference tables of the documentation"
	@echo "make servers  install the real servers that the full suite talks to"
	@echo "make soak     longer fuzzing and fault sweeps"
	@echo "make bench    side by side with other backup programs"
	@echo "make pins     newest versions into constraints.txt (needs uv)"
	@echo "make clean    remove what all these made"

demo: $(VENV)/.program
	@$(BIN)/python tests/demo.py

test: $(VENV)/.tests
	$(TESTS)

check: $(VENV)/.tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(TESTS)

format: $(VENV)/.tests
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.tests
	$(BIN)/python -m pytest tests/sessions tests/docs

servers:
	bash tests/servers.sh

soak: $(VENV)/.tests
	ANTSMEM_SOAK=1 $(TESTS)

bench: $(VENV)/.tests
	$(BIN)/python tests/bench

pins:
	echo 'pip>=25.1' | uv pip compile - pyproject.toml -q --all-extras --group dev --universal --python-version 3.11 \
	  --upgrade --no-annotate --custom-compile-command 'make pins' -o constraints.txt

clean:
	rm -rf $(VENV) dist .servers .bench .demo .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find antsmem tests -name __pycache__ -exec rm -rf {} +

# The stamps say when the environment was last made fit: for the program alone, and for its tests.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "python3 is older than 3.11: make PYTHON=python3.13 (or another one you have)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.program: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) pip
	$(INSTALL) -e .
	@touch $@

$(VENV)/.tests: $(VENV)/.program
	$(INSTALL) -e '.[all]' --group dev
	@touch $@
