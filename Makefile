# Two commands on a fresh machine with Python >= 3.11 and make: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One thread a process: oversubscribed threads cost a factor of 3 to 6.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: run test test-long bench lint clean help

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "drlbench needs Python >= 3.11; point PYTHON at one: make PYTHON=python3.11 ..." >&2; exit 6; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

## make run        the embedded suite: trains, fine-tunes, measures and reports on real digits (about 7 minutes on two cores)
run: $(VENV)/.installed
	$(BIN)/drlbench run suites/digits.yaml

## make test       the tests, without the long ones
test: $(VENV)/.installed
	$(BIN)/python -m pytest

## make test-long  every test (tens of minutes)
test-long: $(VENV)/.installed
	$(BIN)/python -m pytest -m 'not bench'

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'
	@touch $@

## make bench      measurements side by side with the peers
bench: $(VENV)/.bench
	$(BIN)/python -m pytest -m bench tests/bench

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	@touch $@

## make lint       ruff and mypy
lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .drlbench build dist *.egg-info
