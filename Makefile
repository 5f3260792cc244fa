# The doors of this repository. Needed: make, and Python 3.11 or newer (another one: make PYTHON=/path/to/python3).
VENV := .venv
RUN := $(VENV)/bin
PACKAGES := $(VENV)/.packages-are-in
PROJECT := $(VENV)/.project-is-in
PAGE := $(shell find frontend -name node_modules -prune -o -type f -print)

.PHONY: help setup demo test check format schema lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(PROJECT) ## Make .venv with the project and its test tools

$(PACKAGES): requirements.lock .ci/setup
	@PYTHON="$(PYTHON)" sh .ci/setup $(VENV) packages
	@touch $@

# Again too when the web page has changed, since it is built with the project.
$(PROJECT): $(PACKAGES) pyproject.toml hatch_build.py $(PAGE) $(if $(AGAIN),again)
	@sh .ci/setup $(VENV) project
	@touch $@

.PHONY: again

demo: setup ## Compress sample pictures through the whole service; DEMO_ARGS=--exit ends it
	@$(RUN)/gql-imgproc demo $(DEMO_ARGS)

test: setup ## Run the whole test suite; TEST_ARGS are handed to pytest
	$(RUN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal $(TEST_ARGS)

check: setup ## Format, lint, types, import contract, schema export, docs
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/gql-imgproc export-schema | diff -u schema.graphql - || \
		{ echo "schema.graphql is not what the code exports; run: make schema" >&2; exit 1; }
	@if [ -f tests/test_docs.py ]; then $(RUN)/python -m pytest -q tests/test_docs.py; fi

format: setup ## Format the code and mend what lint can mend
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

schema: setup ## Write schema.graphql from the code
	$(RUN)/gql-imgproc export-schema > schema.graphql

lock: setup ## Cut the image's locks from requirements.lock
	$(RUN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --upgrade \
		--constraint requirements.lock --extra tracing pyproject.toml --output-file deploy/image/runtime.lock
	echo hatchling | $(RUN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --upgrade \
		--python-version 3.11 --constraint requirements.lock - --output-file deploy/image/build.lock

clean: ## Remove .venv, caches and the data of demos
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache data/demo-*
