# What one does with a checkout. `make help` lists the targets.
#
# All of them work in .venv, made from the lock files with every hash checked. The stamp files in it
# are younger than what they were made from, so a second run starts at once.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
CLIENT ?=
ARGS ?=
# So many tests run at once: they wait for processes and disks more than they compute.
WORKERS ?= 2

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --quiet
AT_ONCE := --numprocesses $(WORKERS) --dist worksteal

# The one tool that is not locked, for it makes the locks; pinned here.
PIP_TOOLS := pip-tools==7.6.2
COMPILE := .venv-lock/bin/pip-compile --quiet --no-config --generate-hashes --strip-extras \
	--no-annotate --no-header --no-emit-options --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1#\2/p' Makefile | column -t -s '#'

# ── Environments ─────────────────────────────────────────────────────────────────────────────────

.venv/made:
	@command -v $(PYTHON) >/dev/null || { \
		echo 'There is no $(PYTHON) here; modelmirror needs Python 3.11 or newer.' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'modelmirror needs Python 3.11 or newer; this is' "$$($(PYTHON) --version 2>&1)." >&2; \
		echo 'Name another one: make $(MAKECMDGOALS) PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'This Python cannot make virtual environments.' >&2; \
		echo 'On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Setting up .venv, once: about half a minute.' >&2
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/run: .venv/made requirements.lock
	@$(INSTALL) --require-hashes -r requirements.lock
	@touch $@

.venv/dev: .venv/run requirements-dev.lock
	$(INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@

# Editable, without dependencies and without a build environment: everything it needs is in the lock.
.venv/package: .venv/run pyproject.toml mirror/__init__.py
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: .venv
.venv: .venv/dev .venv/package ## make the environment that check and test use

# The fuzzer is 150 MB, runs on Linux and macOS alone, and nothing else needs it.
.venv-fuzz/made: .venv/dev tests/fuzz/requirements.lock
	$(PYTHON) -m venv --clear .venv-fuzz
	.venv-fuzz/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes \
		-r requirements.lock -r requirements-dev.lock -r tests/fuzz/requirements.lock
	@touch $@

# ── Using it ─────────────────────────────────────────────────────────────────────────────────────

.PHONY: serve
serve: .venv/package ## run the mirror; more flags: make serve ARGS='--port 8091'
	@exec $(BIN)/modelmirror serve $(ARGS)

.PHONY: hook-wheel
hook-wheel: .venv/package ## build the client start-up hook as a wheel, in dist/
	@$(BIN)/python -m tests.house.hook_wheel dist

# ── Working on it ────────────────────────────────────────────────────────────────────────────────

.PHONY: test
test: .venv ## every test but clients, what is shipped, long faults and torture; one of them: make test ARGS='-k ranges'
	$(BIN)/python -m pytest $(AT_ONCE) -m 'not clients and not shipped and not torture and not long' $(ARGS)

.PHONY: faults
faults: .venv ## what the mirror does when things break, the long ones too: make faults ARGS='-k f07'
	$(BIN)/python -m pytest tests/faults -m 'not torture' $(ARGS)

.PHONY: torture
torture: .venv ## break it for minutes: make torture ARGS='--rounds 1000 --seed 1 --seconds 600'
	$(BIN)/python -m pytest tests/faults -m torture -s $(ARGS)

.PHONY: test-clients
test-clients: .venv ## the mirror against real clients; one of them: make test-clients CLIENT=git
	$(BIN)/python -m pytest $(AT_ONCE) tests/clients tests/stories -m clients $(if $(CLIENT),-k '$(CLIENT)') $(ARGS)

.PHONY: test-shipped
test-shipped: .venv ## the image, compose files, manifests, and the one file of make dist
	$(BIN)/python -m pytest tests/shipped tests/stories -m shipped $(ARGS)

.PHONY: fuzz
fuzz: .venv-fuzz/made ## look for inputs that break the readers: make fuzz ARGS='--seconds 180 ranges'
	.venv-fuzz/bin/python -m tests.fuzz $(ARGS)

.PHONY: check
check: .venv ## what a machine can say about the source
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.house.links
	$(PIP) check

.PHONY: format
format: .venv ## let ruff lay out the source and mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: .venv ## measure against nginx and others: 15 minutes, wants a quiet machine; 2: make bench ARGS='--quick'
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: dist
dist: .venv ## everything for a machine without a network as one file; make dist ARGS='--machine aarch64'
	$(BIN)/python -m tests.house.dist $(ARGS)

.PHONY: lock
lock: .venv-lock/made ## make the lock files again, with the newest versions that pyproject.toml allows
	@rm -f requirements.lock requirements-dev.lock tests/fuzz/requirements.lock tests/house/dist.lock
	$(PYTHON) tests/house/requirements.py run < pyproject.toml \
		| $(COMPILE) --output-file requirements.lock -
	$(PYTHON) tests/house/requirements.py dev < pyproject.toml \
		| $(COMPILE) --constraint requirements.lock --output-file requirements-dev.lock -
	echo 'atheris>=3.0' | $(COMPILE) --output-file tests/fuzz/requirements.lock -
	echo 'pip' | $(COMPILE) --allow-unsafe --output-file tests/house/dist.lock -

.venv-lock/made: Makefile
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip --disable-pip-version-check install --quiet '$(PIP_TOOLS)'
	@touch $@

.PHONY: clean
clean: ## remove everything that make made
	rm -rf .venv .venv-fuzz .venv-lock build dist .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find mirror tests -name __pycache__ -type d -prune -exec rm -rf {} +
