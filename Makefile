# Every verb that a user or a developer of maskline needs. `make` alone lists them.
#
# `demo` and `serve` need what the server needs (requirements.lock); the other targets need the developers' tools too
# (requirements-dev.lock). Both are installed by hash. A newer lock or pyproject.toml installs again.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-carrier demo-smpp serve test test-long test-faults clients check fmt bench docs lock clean

# $(call make_venv,DIR): a virtual environment with a pip that works. One that was left half made (Debian without
# python3-venv does that) is made anew.
define make_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "maskline needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
@$(1)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(1) || { \
	echo "Python's venv module does not work here. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
endef

# $(call install,DIR,LOCK,FLAGS): what the lock names, then maskline itself as it stands in this tree. uv only saves time.
define install
@echo "Installing $(2) into $(1)"
@if command -v uv >/dev/null; then \
	uv pip install --quiet --python $(1)/bin/python --require-hashes $(3) -r $(2); \
else \
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes $(3) -r $(2); \
fi
endef

define install_maskline
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endef

help: ## List the targets
	@echo "Usage: make TARGET [ARGS='...'] [PYTHON=python3.12]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

.venv/.ready: requirements.lock pyproject.toml
	$(call make_venv,.venv)
	$(call install,.venv,requirements.lock)
	$(call install_maskline,.venv)
	@touch $@

# The developers' lock holds the server's lock, so one install serves both stamps.
.venv/.ready-dev: requirements-dev.lock requirements.lock pyproject.toml
	$(call make_venv,.venv)
	$(call install,.venv,requirements-dev.lock)
	$(call install_maskline,.venv)
	@touch .venv/.ready $@

# Apart from .venv, so that the baseline's packages can never be imported by the server by accident.
.venv-bench/.ready: requirements-dev.lock benchmarks/requirements.lock pyproject.toml
	$(call make_venv,.venv-bench)
	$(call install,.venv-bench,requirements-dev.lock)
	$(call install,.venv-bench,benchmarks/requirements.lock)
	$(call install_maskline,.venv-bench)
	@touch $@

# Official clients: Twilio's of several ages, which the tests run against us, and other vendors', each in an environment
# of its own. An old one has no wheel, so what builds it is installed first, by hash too.
.clients/python-%/.ready: tests/clients/python-%/requirements.lock tests/clients/build.lock
	$(call make_venv,.clients/python-$*)
	$(call install,.clients/python-$*,tests/clients/build.lock)
	$(call install,.clients/python-$*,$<,--no-build-isolation)
	@touch $@

.clients/node-%/.ready: tests/clients/node-%/package-lock.json tests/clients/node-%/package.json
	@command -v npm >/dev/null || { echo "Twilio's Node clients need npm, which is not installed here." >&2; exit 1; }
	@echo "Installing $< into $(@D)"
	@mkdir -p $(@D) && cp $^ $(@D) && cd $(@D) && npm ci --loglevel=error --ignore-scripts --no-audit --no-fund >/dev/null
	@touch $@

demo: .venv/.ready ## Play one masked conversation and leave the server running (ARGS=--once: stop after it)
	@$(BIN)/maskline demo $(ARGS)

demo-carrier: .venv/.ready-dev ## Play one masked conversation through a stand-in for a carrier (KIND=telnyx, for example)
	@PYTHONPATH=. $(BIN)/python tools/carrier_demo.py $(KIND)

demo-smpp: .venv/.ready-dev .clients/node-smpp/.ready ## Play one masked conversation over SMPP, with an SMSC from npm
	@PYTHONPATH=. $(BIN)/python tools/carrier_demo.py smpp

serve: .venv/.ready ## Run the server (ARGS='--port 9000 ...')
	@$(BIN)/maskline serve $(ARGS)

test: .venv/.ready-dev ## Run the tests with short budgets (ARGS goes to pytest)
	@$(BIN)/python tools/peers.py
	@HYPOTHESIS_PROFILE=ci $(BIN)/pytest $(ARGS)

test-long: .venv/.ready-dev ## Run the tests with large budgets for generated examples
	@$(BIN)/python tools/peers.py
	@HYPOTHESIS_PROFILE=long $(BIN)/pytest $(ARGS)

test-faults: .venv/.ready-dev ## Run all fault tests: kill -9 at every step, again and again
	@$(BIN)/python tools/peers.py
	@FULL=1 HYPOTHESIS_PROFILE=ci $(BIN)/pytest tests/faults tests/smpp/test_faults.py $(ARGS)

clients: $(patsubst %,.clients/%/.ready,python-8 python-6 python-telnyx python-plivo python-vonage python-bandwidth python-signalwire python-patroni node-6 node-4 node-segments node-smpp) ## Install Twilio's clients of several ages, those of other vendors, its segment calculator, an SMSC and Patroni, which the tests run if they are there (needs npm)

check: .venv/.ready-dev ## Check format, lint, types, imports, the locks and the changelog fragments
	@$(BIN)/ruff format --check --output-format=concise . || { echo "'make fmt' formats them." >&2; exit 1; }
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pip --disable-pip-version-check check
	@said=$$($(BIN)/towncrier build --draft --version next 2>&1) || { echo "$$said" >&2; exit 1; }

fmt: .venv/.ready-dev ## Format the code and mend what ruff can mend by itself
	@$(BIN)/ruff check --fix --exit-zero --quiet .
	@$(BIN)/ruff format .

bench: .venv-bench/.ready ## Measure against the limit and the baseline (takes minutes; ARGS goes to benchmarks)
	@.venv-bench/bin/python -m benchmarks $(ARGS)

docs: ## Check the links of the documentation, which is the Markdown files as they are
	@$(PYTHON) tools/check_links.py

# Names, versions and hashes only: no address of a registry, no path of a machine. One lock serves all Pythons that we
# support. The developers' and the benchmarks' locks are held to the server's, so that all test what is shipped.
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(ARGS)

lock: ## Write the lock files anew after a change of dependencies (ARGS=--upgrade: newest versions)
	@command -v uv >/dev/null || { echo "make lock needs uv (pipx install uv); nothing else does." >&2; exit 1; }
	@command -v npm >/dev/null || { echo "make lock needs npm for the locks of Twilio's Node clients." >&2; exit 1; }
	$(COMPILE) pyproject.toml --extra postgres --group build -o requirements.lock
	$(COMPILE) pyproject.toml --extra postgres --group dev -c requirements.lock -o requirements-dev.lock
	$(COMPILE) --group bench -c requirements-dev.lock -o benchmarks/requirements.lock
	$(COMPILE) --group build -c requirements.lock -o tests/clients/build.lock
	$(COMPILE) tests/clients/python-8/requirements.in -o tests/clients/python-8/requirements.lock
	$(COMPILE) tests/clients/python-6/requirements.in -o tests/clients/python-6/requirements.lock
	$(COMPILE) tests/clients/python-telnyx/requirements.in -o tests/clients/python-telnyx/requirements.lock
	$(COMPILE) tests/clients/python-plivo/requirements.in -o tests/clients/python-plivo/requirements.lock
	$(COMPILE) tests/clients/python-vonage/requirements.in -o tests/clients/python-vonage/requirements.lock
	$(COMPILE) tests/clients/python-bandwidth/requirements.in -o tests/clients/python-bandwidth/requirements.lock
	$(COMPILE) tests/clients/python-signalwire/requirements.in -o tests/clients/python-signalwire/requirements.lock
	$(COMPILE) tests/clients/python-patroni/requirements.in -o tests/clients/python-patroni/requirements.lock
	cd tests/clients/node-6 && npm install --package-lock-only --omit-lockfile-registry-resolved
	cd tests/clients/node-4 && npm install --package-lock-only --omit-lockfile-registry-resolved
	cd tests/clients/node-segments && npm install --package-lock-only --omit-lockfile-registry-resolved
	cd tests/clients/node-smpp && npm install --package-lock-only --omit-lockfile-registry-resolved

clean: ## Remove everything that was built here, the virtual environments too
	rm -rf .venv .venv-bench .clients .ci-work build dist *.egg-info src/*.egg-info \
		.hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
