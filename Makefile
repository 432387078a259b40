# Every target sets up what it needs itself and is safe to run again.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    := $(VENV)/.run
READY  := $(VENV)/.ready
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off

.DEFAULT_GOAL := help
.PHONY: help install lint format test test-slow demo serve system-deps dashboards panels

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

install: $(READY) ## create .venv with everything the other targets use

# Training and serving alone need half of what the tests and the load tests do.
$(RUN): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[embedded,train]'
	@touch $@

$(READY): $(RUN)
	$(PIP) -e '.[dev]'
	@touch $@

lint: $(READY) ## ruff (format and lint) and mypy --strict
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Faults are provoked one at a time: their rows promise times, which a test beside them would take its share of.
FAULTS := tests/loadtests/chaos
FILES_AT_A_TIME := 2

test: $(READY) ## run every test but the slow ones, with coverage
	@.ci/system-deps --if-allowed
	$(BIN)/pytest -m "not slow" --ignore $(FAULTS) -n $(FILES_AT_A_TIME) --dist loadfile --cov --cov-report=
	$(BIN)/pytest -m "not slow" --cov --cov-append --cov-report=term $(FAULTS)

test-slow: $(READY) ## run the slow tests
	@.ci/system-deps --if-allowed
	$(BIN)/pytest -m slow

.PHONY: audit
audit: $(READY) ## known vulnerabilities of the installed packages; needs pypi.org, fails where one cannot be looked up
	$(PIP) -e '.[audit]'
	$(BIN)/pip-audit --skip-editable --strict

# What a demo trains on: synthetic, or the path of a data set (README, "Your own data").
DATA ?= synthetic
# How its rankers encode histories: transformer, causal_transformer or hstu.
ENCODER ?= transformer
PORT ?= 8000

demo: $(RUN) ## train, export, serve and rank in both modes; everything stops again
	$(BIN)/python -m loadtests.demo --data $(DATA) --encoder $(ENCODER)

serve: $(RUN) ## the same, once, and then leave the service running on PORT
	$(BIN)/python -m loadtests.demo --data $(DATA) --encoder $(ENCODER) --serve --port $(PORT)

system-deps: ## install what only Debian's packages give (Prometheus, Compose, Chromium), as root or by sudo
	@.ci/system-deps

dashboards: $(READY) ## write the Grafana dashboards and the table of metrics anew
	$(BIN)/python docker/grafana/generate.py
	$(BIN)/python docker/metrics_table.py

panels: $(READY) ## service, real Prometheus and load; print every panel's expression and value
	@.ci/system-deps
	$(BIN)/python -m loadtests.panels

# What the load tests ask. MODELS: a model repository; without one the demo's, or a quick one that is trained first.
PROFILE ?= smoke
MODELS  ?=
RATE    ?= 60
CASES   ?= 20000
BUNDLES  = $(if $(MODELS),--models $(MODELS))

.PHONY: load openloop compare fuzz bench bench-quick bench-session
load: $(READY) ## locust against a service of its own; PROFILE=smoke|steady|ramp|spike|soak
	$(BIN)/python -m loadtests.load --profile $(PROFILE) $(BUNDLES)

bench: $(READY) ## every row of the performance targets, as loadtests/README.md tells; ends in one line of JSON
	$(BIN)/python -m loadtests.bench

bench-quick: $(READY) ## the same with fewer repetitions, under three minutes
	$(BIN)/python -m loadtests.bench --quick

bench-session: $(READY) ## encoding each action once: extension, HSTU, and a member who acts between rankings
	$(BIN)/python -m loadtests.bench_session

openloop: $(READY) ## the tails: RATE requests/s that wait for nobody
	$(BIN)/python -m loadtests.openloop --rate $(RATE) $(BUNDLES)

fuzz: $(READY) ## CASES of bad input: documented interface, decoders, raw bytes; fails on any finding
	$(BIN)/python -m tests.fuzz --cases $(CASES) $(BUNDLES)

compare: $(READY) ## the same requests in both modes, by turns: a table and a plot
	$(BIN)/python -m loadtests.compare $(BUNDLES)

.PHONY: chaos
chaos: $(READY) ## the fault table against the real service under load; QUICK=1 ROW="name …"
	$(BIN)/python -m loadtests.chaos $(if $(QUICK),--quick) $(if $(ROW),--row $(ROW)) $(BUNDLES)

# Triton's wheel wants a numpy of its own; torch is the same build as ours, or the comparison would be one of builds.
PEERS       := build/peers/venv
PEERS_READY := $(PEERS)/.ready
PEERS_PIP    = $(PEERS)/bin/python -m pip install --disable-pip-version-check --progress-bar off
TORCH        = $$($(BIN)/python -c 'import torch; print(torch.__version__.split("+")[0])')
QUICK       ?=

.PHONY: bench-peers
bench-peers: $(PEERS_READY) ## our service beside Triton, a typical FastAPI service and the floor; QUICK=1: fewer blocks
	$(BIN)/python -m loadtests.bench_peers --peers $(PEERS) $(if $(QUICK),--quick)

$(PEERS_READY): $(READY)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS_PIP) "torch==$(TORCH)" "nvidia-pytriton>=0.7" && touch $@ || \
	  echo "Triton could not be installed here; the others are compared without it" >&2
