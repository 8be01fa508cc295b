# make demo      runs everything at a small size: videos, training, scores, samples, export
# make check     lints and runs quick tests of layers, losses, models and data reading
# make test      lints and runs the tests; test-all includes the slow ones
# make coverage  prints line coverage; COVERED='tests/test_cli.py' selects tests
# make docs      builds the pages and the API reference in docs/_build/html
# make format    formats the code
# make lock      renews constraints/ from setup.py; keeps the pins that still fit
#
# PYTHON=python3.13 selects the lane of current TensorFlow, with an environment of its own;
# its `make test` runs the files of SECOND_LANE.

PYTHON ?= python3.11
# pyenv's commands of versions that are not selected fail; then the program itself.
FOUND := $(shell $(PYTHON) -c "import sys; print(sys.executable)" 2> /dev/null || \
	ls $(HOME)/.pyenv/versions/*/bin/$(PYTHON) 2> /dev/null | tail -1)
LANE := $(shell $(FOUND) -c "import sys; \
	print('tensorflow2.15' if sys.version_info < (3, 12) else 'tensorflow2.20')")
IS_FIRST := $(filter tensorflow2.15,$(LANE))
CONSTRAINTS := constraints/$(LANE).txt
VENV := $(if $(IS_FIRST),.venv,.venv-$(notdir $(PYTHON)))
PY := $(VENV)/bin/python
DEMO ?= demo_run
# A worker runs whole files, to share their fixtures; tests/conftest.py puts long ones first.
ON_BOTH_CORES := -n 2 --dist=loadfile --no-loadscope-reorder
CHECKED := $(addprefix tests/, test_layout.py test_ops.py test_losses.py layers models \
	conformance/test_layers.py data/test_readers.py data/test_transforms.py)

# What TensorFlow's version can break; under ten minutes.
SECOND_LANE := $(addprefix tests/, test_lanes.py test_addons.py test_keras_version.py \
	test_packaging.py test_object_stores.py test_export.py test_ops.py test_losses.py \
	layers flow models/test_variables.py training/test_trainer.py \
	training/test_checkpoints.py conformance/test_replicas.py data/test_readers.py \
	data/test_video_reader.py)

.PHONY: demo check test test-all coverage docs lint format lock clean

$(VENV)/ready: setup.py $(CONSTRAINTS) pyproject.toml
	@echo "Setting up $(VENV); this takes a few minutes the first time"
	@test -n "$(FOUND)" || (echo "There is no $(PYTHON) here"; exit 1)
	$(FOUND) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip==25.3
	$(PY) -m pip install --quiet --no-compile --require-hashes --requirement $(CONSTRAINTS)
	$(PY) -m pip install --quiet --no-build-isolation --editable '.[tests]'
	touch $@

demo: $(VENV)/ready
	@$(PY) -m tools.demo --output=$(DEMO)

check: lint
	$(PY) -m pytest $(ON_BOTH_CORES) -q -m 'not slow and not long' $(CHECKED)

test: $(if $(IS_FIRST),lint,$(VENV)/ready)
	$(PY) -m pytest $(ON_BOTH_CORES) -m 'not slow' $(if $(IS_FIRST),,$(SECOND_LANE))

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

# Without PyTorch and its CUDA packages: which build it is depends on the machine.
lock:
	$(FOUND) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet uv==0.13.9
	@for lane in 3.11.7:tensorflow2.15 3.12.1:tensorflow2.20; do \
		.venv-lock/bin/uv pip compile --quiet --python-version $${lane%:*} --extra tests \
			--generate-hashes --no-annotate --custom-compile-command 'make lock' \
			--output-file constraints/$${lane#*:}.txt setup.py > /dev/null && \
		awk '/^[a-z]/ {skip = /^(torch|triton|nvidia-|cuda-)/} !skip' \
			constraints/$${lane#*:}.txt > .venv-lock/lock.txt && \
		mv .venv-lock/lock.txt constraints/$${lane#*:}.txt || exit 1; \
	done

clean:
	rm -rf .venv .venv-* $(DEMO) build *.egg-info .coverage .coverage.* \
		.mypy_cache .pytest_cache .ruff_cache
