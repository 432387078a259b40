# Every target sets up what it needs itself and is safe to run again.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install lint format test test-slow demo serve

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

install: $(READY) ## create .venv with everything the other targets use

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e '.[dev]'
	@touch $@

lint: $(READY) ## ruff (format and lint) and mypy --strict
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(READY) ## run every test but the slow ones, with coverage
	$(BIN)/pytest -m "not slow" --cov --cov-report=term

test-slow: $(READY) ## run the slow tests
	$(BIN)/pytest -m slow

# What a demo trains on: synthetic, or the path of a data set (README, "Your own data").
DATA ?= synthetic
PORT ?= 8000

demo: $(READY) ## train, export, serve and rank in both modes; everything stops again
	$(BIN)/python -m loadtests.demo --data $(DATA)

serve: $(READY) ## the same, once, and then leave the service running on PORT
	$(BIN)/python -m loadtests.demo --data $(DATA) --serve --port $(PORT)
