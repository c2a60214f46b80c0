# Streamgauge: `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run serve test chaos check bench bench-full clean

help: ## Show this list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

$(BIN)/streamgauge: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; name another with PYTHON=") if sys.version_info < (3, 11) else None'
	@echo "installing into $(VENV): once, about a minute"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(BIN)/streamgauge requirements-dev.lock
	@echo "installing what tests and checks need"
	@$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

run: $(BIN)/streamgauge ## Install what is needed and run everything, with a demo organization.
	@$(BIN)/streamgauge run --demo

serve: $(BIN)/streamgauge ## The same without the demo.
	@$(BIN)/streamgauge run

test: $(VENV)/.dev ## Run every test, on real servers.
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

chaos: $(VENV)/.dev ## Walk through random faults for 10 minutes, and the other long fault tests; CHAOS_SEED=, CHAOS_SECONDS=.
	$(BIN)/python -m pytest tests/chaos -m chaos -s

check: $(VENV)/.dev ## Lint, types, layers, names.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/names.py

bench: $(VENV)/.dev ## Measure throughput and latency; prints ratios.
	$(BIN)/python -m bench

$(PEERS)/.ready: bench/peers/requirements.lock
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bench/peers/requirements.lock
	@touch $@

bench-full: $(VENV)/.dev $(PEERS)/.ready ## The same, and Kafka to database against other stream processors.
	$(BIN)/python -m bench --full --peers $(PEERS)/bin/python

clean: ## Remove what was installed and cached; the data folder stays.
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
