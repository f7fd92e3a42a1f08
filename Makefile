# The front door. `make` prints this help.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# Empty counts as unset: hundreds of programs are started here, and each would compile all it imports.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test fast check bench crash databases fuzz bench-growth model serve lock clean

help: ## print this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/runtime: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --no-compile --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev: $(VENV)/runtime requirements-dev.lock
	@$(PIP) install --no-compile --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/runtime ## set up and run the main job, end to end
	@$(BIN)/valetkey demo

serve: $(VENV)/runtime ## start the server on 127.0.0.1
	@$(BIN)/valetkey serve

test: $(VENV)/dev ## set up and pass every test, on SQLite and PostgreSQL
	@$(BIN)/python -m tests.support.prepare
	@$(BIN)/python -m pytest -n 2 --dist loadfile

fast: $(VENV)/dev ## the pure rules only, in seconds
	@$(BIN)/python -m pytest tests/rules

check: $(VENV)/dev ## format, lint, strict types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(VENV)/dev ## measure against peers, write build/bench.json
	@$(BIN)/python -m bench

bench-growth: $(VENV)/dev ## the same with a million delegations and ten million audit records
	@$(BIN)/python -m bench.growth

crash: $(VENV)/dev ## 200 kills at random moments under load
	@VALETKEY_TEST_KILLS=200 $(BIN)/python -m pytest -s -p no:xdist tests/faults/test_kill.py

databases: $(VENV)/dev ## the tests of database logins on PostgreSQL 14, 16, 17 and 18
	@$(BIN)/python -m tests.support.prepare
	@$(BIN)/python -m tests.support.postgres_versions

fuzz: $(VENV)/dev ## a million calls under made-up policies, a million of GraphQL, against the plainest judging there is
	@VALETKEY_TEST_CASES=1000000 $(BIN)/python -m pytest -p no:xdist tests/rules/test_policy_differential.py \
		tests/rules/test_graphql_differential.py

model: $(VENV)/dev ## check the models of the fence and of refreshing (docs/models)
	@$(BIN)/python -m tests.support.models

lock: ## renew the hash-pinned locks from pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install uv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml --group build -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -c requirements.lock pyproject.toml --group build --group dev -o requirements-dev.lock

clean: ## remove the virtual environment and build output
	@rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
