# Developer commands. They need make and Python 3.11 or newer (another one: make PYTHON=/path/to/python3).
VENV := .venv
RUN := $(VENV)/bin
PACKAGES := $(VENV)/.packages-installed
PROJECT := $(VENV)/.project-installed
PYTEST := $(RUN)/python -m pytest --maxprocesses 8 --dist worksteal
PAGE := $(shell find frontend -name node_modules -prune -o -type f -print)

# Many tests start Python processes, which would compile the same modules again and again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-slow check format schema dev seed lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(PROJECT) ## Create .venv with the project and its test tools

$(PACKAGES): requirements.lock .ci/setup
	@PYTHON="$(PYTHON)" sh .ci/setup $(VENV) packages
	@touch $@

# Runs again when the page's source has changed, since the page is built with the project.
$(PROJECT): $(PACKAGES) pyproject.toml hatch_build.py $(PAGE) $(if $(AGAIN),again)
	@sh .ci/setup $(VENV) project
	@touch $@

.PHONY: again

demo: setup ## Compress sample images through the whole service; DEMO_ARGS=--exit ends it
	@$(RUN)/gql-imgproc demo $(DEMO_ARGS)

test: setup ## Run the tests that every change needs; TEST_ARGS are passed to pytest
# One process more than processors, since these tests also wait.
	$(PYTEST) -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) -m "not slow" $(TEST_ARGS)

test-slow: setup ## Run the tests that take longer
	$(PYTEST) -n logical -m "slow and not engine" $(TEST_ARGS)
# One after the other: they share one container engine.
	$(RUN)/python -m pytest -m engine tests/deploy $(TEST_ARGS)

check: setup ## Check format, lint, types, imports, dependencies, schema, docs
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/deptry .
	$(RUN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(RUN)/zizmor --quiet --offline .github
	$(RUN)/gql-imgproc export-schema | diff -u schema.graphql - || \
		{ echo "schema.graphql is not what the code exports; run: make schema" >&2; exit 1; }
	@$(RUN)/python -m pytest -q tests/test_docs.py tests/test_vocabulary.py

format: setup ## Format the code and fix lint errors
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

schema: setup ## Write schema.graphql from the code
	$(RUN)/gql-imgproc export-schema > schema.graphql

lock: setup ## Update the container's lock files from requirements.lock
	$(RUN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --upgrade \
		--constraint requirements.lock --extra tracing --extra heic pyproject.toml --output-file deploy/image/runtime.lock
	echo hatchling | $(RUN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --upgrade \
		--python-version 3.11 --constraint requirements.lock - --output-file deploy/image/build.lock

dev: setup ## Run API, worker and page, each with reload; Ctrl-C ends all
	@$(RUN)/python -m dev.serve

seed: setup ## Load 1,000 sample products and an admin key into `make dev`
	@$(RUN)/python -m dev.seed

clean: ## Delete virtual environments, caches and the data of demos and of `make dev`
	rm -rf .venv* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache data/demo-* data/dev
