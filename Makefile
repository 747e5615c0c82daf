# All of it happens in .venv, which the first target that needs it makes and fills.
#
#   PYTHON=python3.12   make .venv with this Python (default: python3; 3.10 or later)
#   ARGS='...'          pass these to the command that the target runs

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help venv demo collector neighbours test repeat lint typecheck format bench compatibility outage soak fuzz audit docs changelog clean
.PHONY: docs-site pictures wheel test-wheel

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.test $(VENV)/.lint ## Make .venv with everything that work on the project needs.

demo: $(VENV)/.demo ## Run a small shop and show the traces and errors that it sends.
	@$(BIN)/otel-sentry demo $(ARGS)

test: $(VENV)/.test ## Run the tests, or some of them: make test ARGS='tests/demo -x'.
	$(BIN)/python -m pytest $(ARGS)

repeat: $(VENV)/.test ## Run the tests 20 times in a row, four files at once: a flaky one fails it.
	for run in $$(seq 20); do \
	    echo "run $$run" && $(BIN)/python -m pytest -q -n 4 --dist loadfile $(ARGS) || exit 1; \
	done

collector: ## Build the OpenTelemetry Collector of collector/builder.yaml (needs Go; minutes, once).
	@collector/build.sh

neighbours: ## Install the JavaScript SDK that tests talk to (needs Node.js 20.19 or later).
	@tests/end_to_end/neighbours/node/install.sh

lint: $(VENV)/.lint typecheck ## Check style, imports, spelling and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python docs/generate.py --check

typecheck: $(VENV)/.lint ## Check the types.
	$(BIN)/mypy
	$(BIN)/pyright

format: $(VENV)/.lint ## Format the code, and repair what ruff can repair.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/.bench ## Measure the overhead beside other ways to trace, check the limits (half an hour).
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/otlp.py --json docs/benchmarks/otlp.json
	$(BIN)/python benchmarks/run.py $(ARGS) --json docs/benchmarks/overhead.json --svg docs/benchmarks/overhead.svg

compatibility: $(VENV)/.test ## Run the core with the oldest and the newest of what we support (10 minutes).
	$(BIN)/python -m tests.compatibility.run $(ARGS) --json docs/benchmarks/compatibility.json
	$(BIN)/python docs/generate.py

docs: $(VENV)/.test ## Renew the generated parts of the docs.
	$(BIN)/python docs/generate.py
	$(BIN)/otel-sentry collector-config >collector/scrubbing.yaml
	$(BIN)/python collector/kubernetes/render_operator.py >collector/kubernetes/operator.yaml
	OTEL_SENTRY_WRITE_NEIGHBOURS=1 $(BIN)/python -m pytest -q tests/end_to_end/neighbours

outage: $(VENV)/.test ## Measure what requests notice of a broken Sentry, check the limits (4 minutes).
	$(BIN)/python benchmarks/outage.py $(ARGS) --json docs/benchmarks/outage.json

soak: $(VENV)/.test ## Ten minutes of traffic and faults, or fewer: make soak ARGS='--seconds 60'.
	$(BIN)/python benchmarks/soak.py $(ARGS)

fuzz: $(VENV)/.test ## Look for input that raises, a minute for each target (atheris).
	@$(PIP) atheris
	for target in headers envelope otlp settings scrubber semantics; do \
	    $(BIN)/python fuzz/run.py $$target -max_total_time=60 -rss_limit_mb=4096 $(ARGS) || exit 1; \
	done

# --strict: a package that could not be looked up is a failure, not a clean bill.
audit: $(VENV)/.test ## Look for known vulnerabilities in what is installed (needs PyPI's advisories).
	@$(PIP) --group audit
	$(BIN)/pip-audit --strict --skip-editable --progress-spinner off --local $(ARGS) || { \
	    echo "pip-audit found something, or could not reach PyPI's advisories: see above." >&2; \
	    exit 1; }

docs-site: $(VENV)/.docs ## Build the site of the docs, docs/_build/html; a warning is an error.
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html

pictures: $(VENV)/.test ## Draw the demo's trace for the docs (in Spotlight, too: npm, Chromium).
	$(BIN)/python docs/images/draw.py

wheel: $(VENV)/.test ## Build the sdist and the wheel into dist.
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	@test -z "$$TAG" || test -f "dist/otel_sentry-$${TAG#v}.tar.gz" || { \
	    echo "the tag $$TAG is not the version in otel_sentry/__about__.py" >&2; exit 1; }

test-wheel: $(VENV)/.test ## Run the tests, or some of them (ARGS), on the wheel, without the source.
	$(BIN)/python tests/packaging/environments.py $(ARGS)

changelog: $(VENV)/.lint ## Show the changelog of the next release.
	@$(BIN)/towncrier build --draft --version next

clean: ## Remove .venv, caches and builds.
	rm -rf $(VENV) build dist docs/_build .coverage* .hypothesis .import_linter_cache
	rm -rf .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A file for each set of packages, so that pip runs again only when pyproject.toml has changed.

$(VENV)/.demo: pyproject.toml | $(VENV)/.pip
	@echo "Installing the package and the demo's libraries into $(VENV) ..."
	@$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.pip
	@echo "Installing the package and the tests' libraries into $(VENV) ..."
	@$(PIP) --editable '.[demo]' --group test
	@touch $@

# Directories that single contenders see: logfire brings a plugin that pydantic would import into every
# process, opentelemetry-distro a distribution beside ours. Versions stay those of .venv.
$(VENV)/.bench: pyproject.toml | $(VENV)/.test
	@echo "Installing the peers of the benchmark into $(VENV)/bench ..."
	@rm -rf $(VENV)/bench
	@$(BIN)/python -m pip freeze --exclude-editable >$(VENV)/.constraints
	@$(PIP) --target $(VENV)/bench/logfire --constraint $(VENV)/.constraints --group bench
	@$(PIP) --target $(VENV)/bench/distro --no-deps "opentelemetry-distro==$$($(BIN)/python -c \
	    'from importlib.metadata import version; print(version("opentelemetry-instrumentation"))')"
	@touch $@

$(VENV)/.docs: pyproject.toml | $(VENV)/.test
	@echo "Installing the packages for the docs into $(VENV) ..."
	@$(PIP) --group docs
	@touch $@

$(VENV)/.lint: pyproject.toml | $(VENV)/.test
	@echo "Installing the linters into $(VENV) ..."
	@$(PIP) --group lint
	@touch $@

# pip knows dependency groups since 25.1. The setuptools that venv brings along up to Python 3.11 has
# known vulnerabilities; what needs it gets a new one. A .venv that someone else has made is left as it is.
$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "$(PYTHON) is missing, or older than 3.10: name a newer one, make PYTHON=python3.12 ..." >&2; \
	    exit 1; }
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV) && \
	    $(BIN)/python -m pip uninstall --quiet --quiet --yes setuptools; } || { \
	    rm -rf $(VENV); \
	    echo "$(PYTHON) cannot make $(VENV): apt install python3-venv (Debian, Ubuntu)" >&2; \
	    exit 1; }
	@$(PIP) --upgrade 'pip>=25.1'
	@touch $@
