# make run and make test set up their own environment. A Python >= 3.11, make and a package index are all they need.
PYTHON ?= python3
# Another Python gets an environment of its own: make test PYTHON=python3.13
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
BIN = $(VENV)/bin
ARGS ?=

# beartype checks every annotated call in the test run, with an int where a float is due, as in Python itself.
CHECKER = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
# Two to four processes share the tests, file by file: what a file sets up for all of its tests is set up once.
WORKERS = --numprocesses=auto --maxprocesses=4 --dist=loadfile
TESTS = not slow and not soak

.DEFAULT_GOAL := help
.PHONY: help setup run bench peers docs test test-all soak lint format clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.test ## make the environment and install everything that run, test and lint need

run: $(VENV)/.experiments ## train the guide's MNIST classifier; options: make run ARGS="--epochs 3"
	@$(BIN)/python -m experiments.mnist $(ARGS)

bench: $(VENV)/.benchmarks ## compare NumPy with eager and compiled JAX; options: make bench ARGS=--quick
	@$(BIN)/python -m benchmarks.jit_vs_numpy $(ARGS)

peers: $(VENV)-peers/.peers ## time the networks beside PyTorch, Flax, Equinox, Keras; options: make peers ARGS=--check
	@$(VENV)-peers/bin/python -m benchmarks.peers $(ARGS)

docs: $(VENV)/.docs ## build the documentation into site/ and check its links; to read it: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet $(ARGS)
	@echo "site/index.html"

test: $(VENV)/.test ## run the tests but the slowest; on another Python: make test PYTHON=python3.13
	@# A process of its own for bad input: the checker of types and shapes would speak before our own errors do.
	$(BIN)/python -m pytest $(WORKERS) -m "$(TESTS)" tests/bad_input
	$(BIN)/python -m pytest $(WORKERS) -m "$(TESTS)" --jaxtyping-packages="jaxnn,$(CHECKER)" \
		jaxnn tests --ignore=tests/bad_input

test-all: ## run the slowest tests as well
	@$(MAKE) --no-print-directory test TESTS="not soak"

soak: $(VENV)/.test ## kill and damage runs and checkpoints many times; minutes
	$(BIN)/python -m pytest $(WORKERS) -m soak tests

lint: $(VENV)/.test ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.test ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove environments, caches and runs
	rm -rf .venv .venv-* runs .pytest_cache .ruff_cache .hypothesis dist site

CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "error: $(PYTHON) is not a Python >= 3.11; name one with make PYTHON=/path/to/python3"; exit 2; }

# A stamp is touched last, so a set-up that was broken off is done again.
$(VENV)/.experiments: pyproject.toml
	@$(CHECK_PYTHON)
	@echo "setting up $(VENV) (once; a few minutes without a package cache)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --editable '.[experiments]'
	@touch $@

$(VENV)/.test: $(VENV)/.experiments
	@$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

$(VENV)/.docs: $(VENV)/.experiments
	@$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

$(VENV)/.benchmarks: $(VENV)/.experiments
	@$(BIN)/python -m pip install --quiet --editable '.[benchmarks]'
	@touch $@

# Peers that cannot be installed here are left out: each is tried by itself where all at once have failed. On Linux
# the index's PyTorch brings CUDA's libraries, some GB; a CPU build that is installed there before stays.
$(VENV)-peers/.peers: pyproject.toml
	@$(CHECK_PYTHON)
	@echo "setting up $(VENV)-peers (once; some minutes without a package cache)"
	@$(PYTHON) -m venv $(VENV)-peers
	@$(VENV)-peers/bin/python -m pip install --quiet --editable '.[benchmarks]'
	@$(VENV)-peers/bin/python -m pip install --quiet --editable '.[peers]' || \
		for peer in torch flax equinox keras; do \
			$(VENV)-peers/bin/python -m pip install --quiet $$peer || echo "$$peer could not be installed"; \
		done
	@touch $@
