# Needs make and a Python 3.11 or newer with pip; everything else goes into .venv.
#
#   make demo       fit real data sets and print the numbers
#   make test       the quick tests          make test-all   the slow ones too
#   make lint       ruff and pyright         make bench      timings (beside R where R is found), scaling
#                   figures, and their plot in build/
#   make docs       run every notebook and turn it into HTML, in build/docs
#   make notebooks  run every notebook and keep it as .ipynb, in build/notebooks

PYTHON ?= $(shell python3.11 -c 'pass' 2>/dev/null && echo python3.11 || echo python3)
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# files side by side, one process a core; give files or -k in PYTEST_ARGS for a few tests in one process
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadfile
NOTEBOOKS = $(sort $(wildcard notebooks/*.py))

.PHONY: help env demo test test-all lint format bench docs notebooks clean

help:
	@sed -n 's/^#  //p' Makefile

# A stamp is older than pyproject.toml or constraints.txt exactly when .venv no longer answers them.
.venv/.stamp-test: pyproject.toml constraints.txt
	@test -x $(PY) || $(PYTHON) -m venv .venv
	$(PIP) --editable '.[test]'
	@touch $@

.venv/.stamp-dev: .venv/.stamp-test
	$(PIP) --editable '.[test,dev]'
	@touch $@

.venv/.stamp-docs: .venv/.stamp-test
	$(PIP) --editable '.[test,plot,docs]'
	@touch $@

env: .venv/.stamp-test

demo: .venv/.stamp-test
	$(PY) -m glmmjax demo

test: .venv/.stamp-test
	$(PY) -m pytest -q -m "not slow" $(PYTEST_ARGS)

test-all: .venv/.stamp-test
	$(PY) -m pytest -q $(PYTEST_ARGS)

lint: .venv/.stamp-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)

format: .venv/.stamp-dev
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: .venv/.stamp-test
	$(PY) -m bench
	@mkdir -p build
	$(PY) -m bench.scaling --plot build/scaling.png

docs: notebooks
	@mkdir -p build/docs
	$(PY) -m jupyter nbconvert --to html --output-dir build/docs build/notebooks/*.ipynb

notebooks: .venv/.stamp-docs
	@mkdir -p build/notebooks
	@set -e; for n in $(NOTEBOOKS); do \
	  echo "run $$n"; \
	  $(PY) -m jupytext --quiet --to ipynb --output "build/notebooks/$$(basename $$n .py).ipynb" \
	    --set-kernel python3 --execute "$$n"; \
	done

clean:
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis build dist
