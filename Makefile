# make demo      the main job in small: videos, shards, training, samples, SavedModel
# make test      lint and the tests; test-all adds the slow ones
# make format    formats the code

PYTHON ?= python3.11
VENV := .venv
PY := $(VENV)/bin/python
DEMO ?= demo_run

.PHONY: demo test test-all lint format clean

$(VENV)/ready: setup.py constraints.txt pyproject.toml
	@echo "Setting up $(VENV); this takes a few minutes the first time"
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip==25.3
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[tests]'
	touch $@

demo: $(VENV)/ready
	@$(PY) -m tools.demo --output=$(DEMO)

test: lint
	$(PY) -m pytest -n 2 --dist=loadgroup -m 'not slow'

test-all: lint
	$(PY) -m pytest -n 2 --dist=loadgroup

lint: $(VENV)/ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(VENV)/ready
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .pytest_cache .ruff_cache
