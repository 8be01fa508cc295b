# make demo      runs everything at a small size: videos, training, scores, samples, export
# make check     lints and runs quick tests of layers, losses, models and data reading
# make test      lints and runs the tests; test-all includes the slow ones
# make coverage  prints line coverage; COVERED='tests/test_cli.py' selects tests
# make docs      builds the pages and the API reference in docs/_build/html
# make format    formats the code

PYTHON ?= python3.11
VENV := .venv
PY := $(VENV)/bin/python
DEMO ?= demo_run
# A worker runs whole files, to share their fixtures; tests/conftest.py puts long ones first.
ON_BOTH_CORES := -n 2 --dist=loadfile --no-loadscope-reorder
CHECKED := $(addprefix tests/, test_layout.py test_ops.py test_losses.py layers models \
	conformance/test_layers.py data/test_readers.py data/test_transforms.py)

.PHONY: demo check test test-all coverage docs lint format clean

$(VENV)/ready: setup.py constraints.txt pyproject.toml
	@echo "Setting up $(VENV); this takes a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip==25.3
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[tests]'
	touch $@

demo: $(VENV)/ready
	@$(PY) -m tools.demo --output=$(DEMO)

check: lint
	$(PY) -m pytest $(ON_BOTH_CORES) -q -m 'not slow and not long' $(CHECKED)

test: lint
	$(PY) -m pytest $(ON_BOTH_CORES) -m 'not slow'

test-all: lint
	$(PY) -m pytest $(ON_BOTH_CORES)

coverage: $(VENV)/ready
	COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml COVERAGE_FILE=$(CURDIR)/.coverage \
		$(PY) -m pytest $(ON_BOTH_CORES) -m 'not slow' --cov --cov-report=term $(COVERED)

docs: $(VENV)/ready
	$(PY) -m sphinx --fail-on-warning --keep-going --nitpicky -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

lint: $(VENV)/ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

format: $(VENV)/ready
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .coverage .coverage.* \
		.mypy_cache .pytest_cache .ruff_cache
