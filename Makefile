# make reproduce [PROFILE=smoke]   set up, then regenerate the tables and figures from the bundled rooms
# make test                        set up, then run the tests
# make lab                         set up, then open the notebooks in JupyterLab
PROFILE ?= rooms
PYTHON ?= python3
BIN := .venv/bin

.PHONY: reproduce test lint lab benchmark clean-runs
.DEFAULT_GOAL := reproduce

# The stamp is newer than the files that say what to install, or set-up runs again.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@echo "Setting up .venv (a few minutes the first time)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

data/scannet_rooms/.unpacked: .venv/.installed data/rooms/index.json
	$(BIN)/python -m otoc_lib rooms unpack data/scannet_rooms
	@touch $@

reproduce: .venv/.installed data/scannet_rooms/.unpacked
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --cores 1 --config profile=$(PROFILE) --quiet rules progress --rerun-incomplete --nolock
	@echo "The report is at reports/$(PROFILE)/index.html"

test: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -q --durations=15

lint: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: .venv/.installed data/scannet_rooms/.unpacked
	$(BIN)/jupyter lab --notebook-dir . notebooks/01_annotate.ipynb

benchmark: .venv/.installed
	$(BIN)/python benchmarks/sparse_conv.py

clean-runs:
	rm -rf runs/$(PROFILE)
