PYTHON ?= python3
BIN = .venv/bin
# pip's index, if one is configured, is uv's too: uv reads no pip.conf.
USE_INDEX = export UV_SYSTEM_CERTS=1 UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null)}}"
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11
LOCK = $(USE_INDEX); \
	$(COMPILE) pyproject.toml --extra otel -o $(1)requirements.lock $(ARGS) && \
	$(COMPILE) pyproject.toml --group dev -o $(1)requirements-dev.lock $(ARGS) && \
	$(COMPILE) --group setup -o $(1)requirements-setup.lock $(ARGS)
LOCKS = requirements.lock requirements-dev.lock requirements-setup.lock

.PHONY: help run test chaos bench audit fast check locked migrate migration demo lock clean
.DELETE_ON_ERROR:

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/.run  ## set everything up and run the demo: one process, a conversation in the terminal
	@$(BIN)/textback demo

demo: run  ## the same as run

# One process more than there are cores: half of the time, tests wait.
test: .venv/.dev .venv/.promtool  ## set everything up and run all tests
	$(BIN)/pytest -n $$($(BIN)/python -c 'import os; print(min(8, os.cpu_count() + 1))') --dist worksteal $(ARGS)

chaos: .venv/.dev  ## kill every part at random for minutes, and count what was lost or said twice (ARGS='--seed 1')
	$(BIN)/python -m tests.chaos $(ARGS)

bench: .venv/.dev  ## measure everything beside its own ceiling, about twenty minutes (ARGS='--only accept')
	$(BIN)/python -m bench $(ARGS)

# --strict: a package of which nobody could be asked is no package without faults.
audit: .venv/.setup  ## ask for known faults of what we depend on (needs the internet)
	@$(USE_INDEX); $(BIN)/uv tool run pip-audit@2.10.1 --strict --require-hashes --disable-pip -r requirements.lock

fast: .venv/.dev  ## the tests of the rules alone, and their types: seconds
	$(BIN)/pytest -q --noconftest --hypothesis-profile=ci tests/core $(ARGS)
	$(BIN)/basedpyright src/textback/core tests/core $(wildcard tests/typing)

check: locked  ## every linter, the types, and whether the locks fit pyproject.toml
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo
	$(BIN)/typos
	$(BIN)/basedpyright

locked: .venv/.dev
	@new=$$(mktemp -d) && trap 'rm -r "$$new"' EXIT && cp $(LOCKS) "$$new" && $(call LOCK,"$$new/") && \
	for lock in $(LOCKS); do cmp "$$lock" "$$new/$$lock" || { echo "$$lock does not fit pyproject.toml: make lock"; exit 1; }; done

migrate: .venv/.run  ## bring the database of TEXTBACK_DATABASE_URL up to date
	$(BIN)/textback migrate

migration: .venv/.dev  ## write a migration: make migration name="conversation deadline"
	$(BIN)/alembic revision --autogenerate -m "$(name)"

lock: .venv/.setup  ## lock the dependencies of pyproject.toml (ARGS=--upgrade for newer ones)
	@$(call LOCK,)

clean:  ## remove the environment and every cache (not the demo's data)
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find src tests migrations -name __pycache__ -prune -exec rm -r {} +

.venv/.setup: requirements-setup.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'textback needs Python 3.11 or newer; if there is one beside $(PYTHON): make PYTHON=python3.13'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make virtual environments: install python3-venv (apt-get install python3-venv)'; exit 1; }
	@echo 'Making .venv'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# pip is the slow way, for machines on which only pip is set up to find packages.
INTO = --quiet --python $(BIN)/python
define INSTALL
	@echo 'Installing $<'
	@$(USE_INDEX); $(BIN)/uv pip install $(INTO) --require-hashes -r $< || $(BIN)/pip install --quiet --require-hashes -r $<
	@$(BIN)/uv pip install $(INTO) --offline --no-deps --no-build-isolation --editable .
	@touch $@
endef

.venv/.run: requirements.lock .venv/.setup pyproject.toml
	$(INSTALL)

.venv/.dev: requirements-dev.lock .venv/.setup pyproject.toml
	$(INSTALL)
	@touch .venv/.run

# It evaluates the rules of alerts, and comes with Prometheus, which PyPI has not. Unpacked, not
# installed: nothing of it is started. Where it cannot be had, two tests say so and are skipped.
.venv/.promtool: .venv/.setup
	@command -v promtool >/dev/null || ( \
		new=$$(mktemp -d) && trap 'rm -r "$$new"' EXIT && cd "$$new" && \
		{ apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } >/dev/null 2>&1 && \
		dpkg -x prometheus_*.deb . && install usr/bin/promtool $(CURDIR)/$(BIN)/; \
	) && touch $@ || echo 'Rules of alerts are not evaluated: there is no promtool (apt-get install prometheus)'
