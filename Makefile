# Everything a newcomer types. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
DEVKITS := .venv-devkits
RUN := runs/drive

.DEFAULT_GOAL := help
.PHONY: help setup drive compact test test-slow devkits bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1|/' | column -t -s '|'

setup: $(VENV)/.ready ## create .venv and install roadloop into it
	@echo "roadloop is installed: $(BIN)/roadloop --help"

drive: $(VENV)/.ready ## drive 60 s through dense town traffic; writes a report and a video
	@$(BIN)/roadloop drive --config drive --out $(RUN) --overwrite

compact: $(VENV)/.ready-test ## train the detector that comes with roadloop anew, hours
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh training/make_compact.sh

test: $(VENV)/.ready-test ## formatting, lint, types, import contract, tests
	@sh .ci/chromium
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/.ready-test $(DEVKITS)/.ready ## the tests that take a minute or more each
	@$(BIN)/python -m pytest -q -n 2 -m slow

devkits: $(DEVKITS)/.ready ## the devkits our readers are held against, in .venv-devkits

bench: $(VENV)/.ready-bench ## print the benchmark figures of this machine
	@failed=; for f in benchmarks/*.py; do case $$f in *_side.py) continue;; esac; \
		echo "== $$f"; $(BIN)/python $$f || failed="$$failed $$f"; done; \
		test -z "$$failed" || { echo "not run through (data or arguments missing?):$$failed" >&2; exit 1; }

clean: ## remove the environment, caches and build outputs (runs/ stays)
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "roadloop needs Python 3.10 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "no venv module: apt-get install python3-venv, or set PYTHON" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.ready: pyproject.toml | $(VENV)/bin/python
	@echo "installing roadloop into $(VENV) (once, needs the network)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.ready-test: pyproject.toml | $(VENV)/bin/python
	@echo "installing roadloop and its test tools into $(VENV) (once, needs the network)"
	@$(PIP) --editable '.[test]'
	@touch $(VENV)/.ready $@

$(VENV)/.ready-bench: pyproject.toml | $(VENV)/bin/python
	@echo "installing roadloop and its benchmark tools into $(VENV) (once, needs the network)"
	@$(PIP) --editable '.[bench]'
	@touch $(VENV)/.ready $@

# They ask for an older NumPy and another OpenCV than ours, so they live apart; av2's other
# dependencies (7 GB) are not needed for what is compared.
$(DEVKITS)/.ready: benchmarks/devkits.txt | $(VENV)/bin/python
	@echo "installing the devkits into $(DEVKITS) (once, needs the network)"
	@$(PYTHON) -m venv $(DEVKITS)
	@$(DEVKITS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/devkits.txt
	@$(DEVKITS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps av2==0.3.6
	@touch $@
