# `make demo` sends a study through the node; `make test` runs every test; `make check` is quick, for use before a commit.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The user's own DICOM folder: make demo STUDY=/path/to/folder
STUDY ?=
# Many tests wait for processes and clocks, so more of them than there are cores run at once.
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench soak clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

demo: $(INSTALLED)  ## send a synthetic patient (or STUDY=DIR) to the node and receive the DICOM-SEG in an archive
	@$(BIN)/python deploy/demo/demo.py $(if $(STUDY),--study "$(STUDY)")

test: $(INSTALLED)  ## run every test: units, associations, broker, the whole node, the page in a browser
	$(BIN)/python -m pytest -n $(WORKERS) --durations=20

check: $(INSTALLED)  ## run format, lint, types, import contracts and unit tests (two minutes on two cores)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n $(WORKERS) tests/unit

docs: $(INSTALLED)  ## generate the pages of reasons, settings, command line and report schema from the code
	$(BIN)/python docs/generate.py

bench: $(INSTALLED)  ## run the benchmarks
	$(BIN)/python -m pytest -o addopts="--import-mode=importlib" --timeout=0 -s tests/bench

soak: $(INSTALLED)  ## send 1,000 studies while parts of the node are killed; figures in runs/soak (about an hour)
	nice -n 10 $(BIN)/python tests/e2e/soak.py --studies 1000 --real 20 --seed 1 --out runs/soak/$$(date -u +%Y%m%d-%H%M%S)

clean:  ## remove caches and the files of the demo; the virtual environment and qct-data stay
	rm -rf demo-out dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find node segmenter worker tests deploy -name __pycache__ -type d -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Python 3.11 is required, but '$(PYTHON)' is not Python 3.11; install it, or name it: make demo PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
