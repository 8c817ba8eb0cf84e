# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-slow test-slurm test-containers lint clean

demo: $(INSTALLED)
	$(BIN)/qsm-pipeline-simulate $(DEMO)/raw
	$(BIN)/qsm-pipeline $(DEMO)/raw $(DEMO)/derivatives participant --work-dir $(DEMO)/work

test: $(INSTALLED)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

test-slurm: $(INSTALLED)
	$(BIN)/python -m pytest -m slurm $(PYTEST_ARGS)

test-containers: $(INSTALLED)
	$(BIN)/python -m pytest -m containers $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# constraints.txt pins what was tested; torch above all, whose default build is very large.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,dev]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO)
