# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
# One process for each core, each module of tests in one of them.
PARALLEL := -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

# Or each of the many commands that tests run would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all test-slow test-browser test-slurm test-slurm-smoke test-containers test-gpu test-contrib \
  test-lowest coverage docs dist sbom release-check lint clean

demo: $(INSTALLED)
	$(BIN)/qsm-pipeline-simulate $(DEMO)/raw
	$(BIN)/qsm-pipeline $(DEMO)/raw $(DEMO)/derivatives participant --work-dir $(DEMO)/work
	@echo
	@echo "Open the page:                      $(abspath $(DEMO))/derivatives/sub-01.html"
	@echo "Use the command in this terminal:   source $(abspath $(BIN))/activate"

test: $(INSTALLED)
	$(PYTEST) $(PARALLEL) $(PYTEST_ARGS)

# Before a release, and every night.
test-all: test test-slow test-browser test-slurm test-containers coverage

test-slow: $(INSTALLED)
	$(PYTEST) $(PARALLEL) -m slow $(PYTEST_ARGS)

test-browser: $(INSTALLED)
	$(PYTEST) -m browser $(PYTEST_ARGS)

test-slurm: $(INSTALLED)
	$(PYTEST) -m slurm $(PYTEST_ARGS)

test-slurm-smoke: $(INSTALLED)
	$(PYTEST) -m 'slurm and smoke' $(PYTEST_ARGS)

test-containers: $(INSTALLED)
	$(PYTEST) -m containers $(PYTEST_ARGS)

# On a machine with a GPU: every step and method against the CPU, and a little training.
test-gpu: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train]'
	$(BIN)/python benchmarks/gpu.py

# The files for other people's tools, with these tools.
test-contrib: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[contrib]'
	$(PYTEST) -m '' tests/test_contrib.py tests/test_dicom.py $(PYTEST_ARGS)

# With the lowest versions that pyproject.toml names; TORCH is one that is built for the CPU.
LOWEST := build/lowest
TORCH ?= $(shell $(BIN)/python -c 'import torch; print(torch.__version__)')
test-lowest: $(INSTALLED)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv venv --quiet --clear $(LOWEST)
	echo 'torch==$(TORCH)' > build/override.txt
	$(BIN)/uv pip install --quiet --python $(LOWEST) --resolution lowest-direct --override build/override.txt \
	  $(addprefix --find-links ,$(PIP_FIND_LINKS)) $(addprefix --extra-index-url ,$(PIP_EXTRA_INDEX_URL)) '.[test]'
	$(BIN)/uv pip check --python $(LOWEST)
	$(LOWEST)/bin/python -m pytest $(PARALLEL) tests/test_library.py tests/cli tests/bids tests/reports tests/io tests/steps

# Of what computes and what reads and writes BIDS, by the tests of `make test` but for whole commands.
COVERED := numerics cycleqsm steps bids
coverage: $(INSTALLED)
	$(PYTEST) $(PARALLEL) -m 'not command and not slow and not browser and not slurm and not containers' \
	  $(COVERED:%=--cov=qsm_pipeline.%) --cov-report=term:skip-covered --cov-fail-under=95 $(PYTEST_ARGS)

# The site in site/: warnings are errors, links are checked, nothing is asked of a network.
docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m mkdocs build --clean
	$(BIN)/python tools/check_site.py site

# Wheel and sdist in dist/, built in isolation, installed in a fresh environment that answers.
FRESH := build/fresh
dist: $(INSTALLED)
	$(BIN)/python -m pip install --quiet build twine
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv --clear $(FRESH)
	$(FRESH)/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	$(FRESH)/bin/python -m pip check
	cd / && $(abspath $(FRESH))/bin/qsm-pipeline --version && $(abspath $(FRESH))/bin/cycleqsm --version

# What the fresh environment holds, with versions and licences, as CycloneDX.
sbom:
	$(BIN)/python -m pip install --quiet cyclonedx-bom
	$(BIN)/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --output-file dist/sbom.json \
	  $(FRESH)/bin/python

# What a machine can check of a release: make release-check VERSION=0.1.0
release-check: dist
	$(BIN)/python tools/release_check.py $(VERSION)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# constraints.txt pins what was tested; torch above all, whose default build is very large.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO)
