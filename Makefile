# Two commands on a fresh machine with Python >= 3.11 and make: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The exact versions that were tested; `make test CONSTRAINTS=` takes whatever pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
PINNED = $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
# One thread a process: oversubscribed threads cost a factor of 3 to 6.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: run test test-long test-newest test-lowest faults bench lint constraints clean help

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

# $(call install,ENVIRONMENT,CONSTRAINTS,EXTRAS)
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "drlbench needs Python >= 3.11; point PYTHON at one: make PYTHON=python3.11 ..." >&2; exit 6; }
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --upgrade pip
	$(1)/bin/python -m pip install --quiet $(2) --editable '.[$(3)]' || { echo "A version above is not to be had here (another Python, platform or index?). Without the pins: make CONSTRAINTS= VENV=$(1) $(MAKECMDGOALS)" >&2; exit 6; }
endef

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(call install,$(VENV),$(PINNED),test)
	@touch $@

## make run          the embedded suite: trains, fine-tunes, measures and reports on real digits (7 to 15 minutes on two cores)
run: $(VENV)/.installed
	$(BIN)/drlbench run suites/digits.yaml

TESTS = python -m pytest --numprocesses 2 --dist worksteal
## make test         the tests, without the long ones, on two cores
test: $(VENV)/.installed
	$(BIN)/$(TESTS)

## make test-long    every test (tens of minutes)
test-long: $(VENV)/.installed
	$(BIN)/$(TESTS) -m 'not bench'

## make test-newest  the tests with the newest release of every dependency
test-newest:
	rm -rf .venv-newest
	$(call install,.venv-newest,--upgrade,test)
	.venv-newest/bin/$(TESTS)

## make test-lowest  the tests with every dependency at the lower bound of pyproject.toml
test-lowest:
	rm -rf .venv-lowest
	mkdir -p build
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet packaging
	.venv-lowest/bin/python tests/lower_bounds.py > build/lower-bounds.txt
	$(call install,.venv-lowest,--constraint build/lower-bounds.txt,test)
	.venv-lowest/bin/$(TESTS)

## make faults       attacks of every kind, and docs/reliability.md from what they found; ROWS=kill-gc,limits SHARE=0.3 for less
faults: $(VENV)/.installed
	$(BIN)/python tests/fault/campaign.py $(if $(ROWS),--rows $(ROWS)) $(if $(SHARE),--share $(SHARE))

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test,bench]'  # its peers need an older scipy than the pins
	@touch $@

## make bench        measurements side by side with the peers
bench: $(VENV)/.bench
	$(BIN)/python -m pytest -m bench tests/bench

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $(PINNED) --editable '.[test,dev]'
	@touch $@

## make lint         ruff and mypy
lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

## make constraints  constraints.txt anew: the newest versions that go together, to be tested and then committed
constraints:
	rm -rf .venv-pins
	$(PYTHON) -m venv .venv-pins
	.venv-pins/bin/python -m pip install --quiet --upgrade pip
	.venv-pins/bin/python -m pip install --quiet '.[test,dev,docs,browser,pretrained,tracking,ray,s3,s3-server]'
	echo '# Made by `make constraints`: what `make run`, `make test` and CI install.' > constraints.txt
	.venv-pins/bin/python -m pip list --format freeze --exclude drlbench --exclude pip --exclude setuptools >> constraints.txt
	rm -rf .venv-pins

clean:
	rm -rf $(VENV) .venv-newest .venv-lowest .venv-pins .drlbench build dist *.egg-info
