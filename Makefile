# Everything a developer runs. Each target finds or makes what it needs, and can be run again at once.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup engine services image wheel demo test bench conformance lint outdated clean

python := .venv/bin/python
# Runs a command with a container engine: the one that runs, or one started for that time.
with_engine := $(python) .ci/engine.py run --
image := .venv/bin/sandbox-mcp image build
# Installs database servers, where that is possible; never starts one.
servers := $(python) .ci/packages.py
# Those of database servers that only tests run. They take minutes at first, so the tests that need
# none run meanwhile.
test_images := $(python) -m tests.services images >.cache/test-images.log 2>&1

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: ## Make the environment .venv with pinned dependencies and the project in it
	@.ci/setup.sh

engine: setup ## Find a Docker Engine; install and start one where possible, and leave it running
	@$(python) .ci/engine.py start

services: setup ## Start database servers to work with; ARGS=stop ends them
	@$(servers) postgres
	@$(python) -m tests.services $(ARGS)

image: setup ## Build the sandbox image, if its inputs changed
	@$(with_engine) $(image)

wheel: setup ## Build the wheel into dist/
	@$(python) -m build --wheel --no-isolation

demo: setup ## Show the whole thing at work: a real client, a real sandbox, a real program
	@$(servers) postgres
	@$(with_engine) bash -c '$(image) && $(python) -m examples.demo $(ARGS)'

test: setup ## Run every test; ARGS="-k name" chooses some
	@$(servers) postgres neo4j
	@$(with_engine) bash -c '$(image) && { $(test_images) & bash .ci/tests.sh $(ARGS); status=$$?; wait; exit $$status; }'

bench: setup ## Hold the performance budgets; prints a table
	@$(servers) postgres
	@$(with_engine) bash -c '$(image) && $(python) -m tests.benchmarks $(ARGS)'

conformance: setup ## Run the official MCP conformance suites (needs Node.js 22 or npm)
	@$(with_engine) bash -c '$(image) && tests/conformance/run.sh $(ARGS)'

lint: setup ## Check style and types
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m pyright

outdated: setup ## Show which pinned versions have newer releases
	@$(python) -m pip list --outdated

clean: ## Remove the environment and everything that was built, and end the services
	@[ ! -d .cache/services ] || [ ! -x $(python) ] || $(python) -m tests.services stop
	rm -rf .venv .cache build dist .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
