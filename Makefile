# make demo: the whole idea in minutes.  make test: everything that CI runs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check docs unit integration faults bench study ui clean

demo: .venv/.run
	$(BIN)/pbt-disent run demo

test: check docs unit integration

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The site, into site/: dead links, unknown names and whatever would be fetched from elsewhere are errors.
docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

unit: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not ray and not browser and not slow"

integration: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not ray and not browser"
	@set -e; for file in $$(grep -rlE 'mark\.(ray|browser)' tests --include='test_*.py' | sort); do \
	  echo "$$file, in a process of its own: Ray mixes up its sessions in one"; \
	  OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "ray or browser" $$file; \
	done

# What takes too long for CI: twenty killed drivers, every change of a file, a frozen node, a network cut in two,
# a submitted run that is stopped, killed and resumed.
faults: .venv/.dev
	@failed=; for file in tests/faults/test_*.py tests/tune/test_jobs.py; do \
	  echo "$$file, in a process of its own"; \
	  OMP_NUM_THREADS=1 PBT_DISENT_FAULTS=all $(BIN)/python -m pytest -v --durations 0 --timeout 1800 $$file || failed="$$failed $$file"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

bench: .venv/.run
	$(BIN)/python -m benchmarks --output runs/bench.json --into docs/benchmarks.md --scale docs/scale.md

# Only the cells without a result in docs/studies are run; STUDY=robustness takes hours on a large GPU.
STUDY ?= objectives
study: .venv/.run
	$(BIN)/python -m studies $(STUDY) --into docs/$(STUDY).md

ui: .venv/.run
	$(BIN)/pbt-disent ui

clean:
	rm -rf .venv site .mypy_cache .pytest_cache .ruff_cache

.venv/.run: pyproject.toml constraints.txt
	@echo "Installing into .venv, which takes a few minutes the first time."
	$(PYTHON) -m venv .venv
	$(PIP) torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) -e .
	@touch $@

.venv/.dev: .venv/.run
	$(PIP) -e '.[dev,docs]'
	@touch $@
