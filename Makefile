# make reproduce [PROFILE=smoke] [SEEDS=0,1,2]
#                                  set up, then regenerate the tables and figures from the bundled rooms
# make study                       the same with three seeds and longer training, hours; stopped, it goes on where it was;
#                                  its numbers are kept in reports/study/results, ready to be committed
# make sweeps                      likewise: curves over wrong and forgotten clicks, clicks an object and rooms, in reports/sweeps
# make trials                      likewise: parameters of the relation net on held-out training rooms, in reports/trials
# make test                        set up, then check style and types and run the tests
# make test-cluster               set up, then run the Snakefile on a Slurm of one node, started for it, and against Kubernetes' API
# make fuzz [TARGET=scan_ply] [INPUTS=1000000]
#                                  set up, then feed changed files to every reader of files from outside, or to one
# make lab                         set up, then open the notebooks in JupyterLab
# make weights [PROFILE=rooms] [RUN=otoc]
#                                  pack the networks of a finished run into build/weights, with a checksum
# make docs                        set up, then build the pages of docs/ and of the library into build/docs, to be read offline
# make benchmark                   set up, then measure speed and memory into benchmarks/RESULTS.md, ten minutes
PROFILE ?= rooms
SEEDS ?=
TARGET ?=
RUN ?= otoc
INPUTS ?= 100000
PYTHON ?= python3
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
# One more than cores, as some tests wait: for Slurm, a browser, a process to end.
TEST_PROCESSES ?= $(shell n=$(CORES); echo $$((n < 3 ? n + 1 : 4)))
BIN := .venv/bin
HOW = echo "To use the commands of README.md in this shell: source $(BIN)/activate; then, for example, otoc --help"
# Python keeps what it compiles, whatever the environment says: else every process compiles PyTorch's sources anew.
unexport PYTHONDONTWRITEBYTECODE
SNAKEMAKE = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/snakemake --cores $(CORES) --config profile=$(PROFILE) $(if $(SEEDS),seeds=$(SEEDS)) --rerun-incomplete --nolock

.PHONY: reproduce study sweeps trials run test test-cluster fuzz lint lab weights docs benchmark
.DEFAULT_GOAL := reproduce

# Installs what follows by pip, and says every 20 seconds where it is. Setuptools warns of every editable installation.
PIP = $(BIN)/python -m pip --log .venv/pip.log install --quiet --disable-pip-version-check --no-compile
comma := ,
define INSTALL
@rm -f .venv/pip.log; ( while sleep 20 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do \
grep -oE '(Collecting|Downloading) [^ ]+|Installing collected packages' .venv/pip.log | tail -n 1; done ) & \
PYTHONWARNINGS=ignore $(PIP) $(1); failed=$$?; kill $$! 2>/dev/null; \
[ $$failed -eq 0 ] || { echo "Set-up stopped; the end of .venv/pip.log says why. The same command tries again."; exit 1; }
endef

# The stamps are newer than the files that say what to install, or set-up runs again. Python compiles what is imported when
# it is; compiling all that is installed took half of the set-up.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@echo "Setting up .venv: downloads and installs 2 GB, 5 GB where torch brings CUDA's libraries; some minutes the first time"
	@$(PYTHON) -m venv .venv
	@# The pip that comes with Python 3.11 needs 25 s more to choose the packages.
	$(call INSTALL,pip==26.3)
	$(call INSTALL,--constraint constraints.txt --editable .)
	@touch $@

.venv/.installed-dev: .venv/.installed
	@echo "Adding what the tests need"
	$(call INSTALL,--constraint constraints.txt --editable '.[dev$(comma)room-factory$(comma)cluster]')
	@# A reader of ScanNet that is not ours. Its requirement open3d would overwrite open3d-cpu; reading needs neither.
	$(call INSTALL,--no-deps scenezoo==0.3.1)
	@touch $@

.venv/.installed-fuzz: .venv/.installed-dev
	@echo "Adding what the fuzzing needs"
	@PYTHONWARNINGS=ignore $(PIP) --constraint constraints.txt --editable '.[fuzz]' || echo "atheris has no wheel for this machine; fuzzing goes on without it"
	@touch $@

data/scannet_rooms/rooms.json: .venv/.installed data/rooms/index.json
	@$(BIN)/python -m otoc_lib rooms unpack data/scannet_rooms
	@touch $@

data/s3dis_rooms/rooms_s3dis.json: .venv/.installed data/rooms_s3dis/index.json
	@$(BIN)/python -m otoc_lib rooms unpack --layout s3dis data/s3dis_rooms
	@touch $@

reproduce: .venv/.installed
	@$(MAKE) --silent --jobs 2 data/scannet_rooms/rooms.json data/s3dis_rooms/rooms_s3dis.json
	@$(BIN)/python -m otoc_lib.lock runs/$(PROFILE)/.locks/reproduce "make reproduce PROFILE=$(PROFILE)" $(MAKE) --silent --no-print-directory run

study sweeps trials:
	@$(MAKE) --no-print-directory reproduce PROFILE=$@
	@$(BIN)/python -m otoc_lib keep $@

# What reproduce does once it is the only one at this profile.
run:
	@if $(SNAKEMAKE) --dry-run --quiet host | grep -q "Nothing to be done"; \
	then echo "Nothing is left to do: every stage of the profile $(PROFILE) is finished."; \
	else $(BIN)/python -m otoc_lib prepare params/$(PROFILE)/[!_]*.yaml && $(SNAKEMAKE) --quiet all || { echo "Failed; what ran is in reports/$(PROFILE)/notebooks. The same command goes on from there."; exit 1; }; fi
	@echo "The report is at reports/$(PROFILE)/index.html"
	@$(HOW)

test: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# Beside mypy the tests are collected once, which compiles what they import: else each of their processes does.
	$(BIN)/python -m pytest -q --collect-only >/dev/null 2>&1 & \
	$(BIN)/mypy; failed=$$?; wait; exit $$failed
	@# A file of tests stays in one process: its fixtures are made once. The order spreads the long files.
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q --durations=20 --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder
	@$(HOW)

test-cluster: .venv/.installed-dev
	@PATH="$$PATH:/usr/sbin" sh -c "command -v slurmctld && command -v rsync" >/dev/null || { echo "Slurm and rsync are needed; on Debian: apt-get install slurm-wlm rsync"; exit 1; }
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -q tests/cluster

fuzz: .venv/.installed-fuzz
	PYTHONPATH=tests $(BIN)/python tests/fuzz/run.py --inputs $(INPUTS) $(TARGET)

lint: .venv/.installed-dev
	$(BIN)/python -m otoc_lib.notebooks declare
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: .venv/.installed data/scannet_rooms/rooms.json
	@# .jupyter asks neither to build JupyterLab nor to fetch news. In containers the user is often root.
	JUPYTER_CONFIG_PATH="$(CURDIR)/.jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	$(BIN)/jupyter lab --log-level=WARN $(if $(filter 0,$(shell id -u)),--allow-root) --notebook-dir . notebooks/01_annotate.ipynb

weights: .venv/.installed
	$(BIN)/python -m otoc_lib export-weights runs/$(PROFILE)/$(RUN) build/weights/$(PROFILE)-$(RUN).zip

docs: .venv/.installed-dev
	$(BIN)/python docs/site/build.py

benchmark: .venv/.installed-dev data/scannet_rooms/rooms.json data/s3dis_rooms/rooms_s3dis.json
	$(BIN)/python benchmarks/run.py
