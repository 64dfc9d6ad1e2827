# Each target makes the environment it needs. On another torch index: make lab PIP_ARGS="--index-url …"
PYTHON ?= python3
BIN := .venv/bin
PIP_ARGS ?=
# How many processes share the tests; a file's tests stay together, and so do the cells of a notebook.
WORKERS ?= 2
SIDE_BY_SIDE := -n $(WORKERS) --dist loadfile
# In a container one is root, and JupyterLab wants to be told that this is meant. LAB_ARGS=--no-browser opens no window.
LAB_ARGS ?= $(if $(filter 0,$(shell id -u)),--allow-root)
export OMP_NUM_THREADS ?= 1
export NO_MKDOCS_2_WARNING ?= 1

.PHONY: lab test check unit notebooks-test site serve notebooks clean

lab: .venv/ready  ## set up, then open copies of the notebooks
	$(BIN)/python -m tools.lab $(LAB_ARGS)

test: check unit notebooks-test site  ## set up, then pass everything

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: .venv/ready
	$(BIN)/pytest -p no:nbval $(SIDE_BY_SIDE) --no-loadscope-reorder  # the last are docstrings: they are short

notebooks-test: .venv/ready
	$(BIN)/pytest --nbval notebooks/ $(SIDE_BY_SIDE)  # begins with those that have most cells

site: .venv/ready  ## build the site into site/
	$(BIN)/mkdocs build --strict

serve: .venv/ready  ## the site at http://127.0.0.1:8000, rebuilt while you write
	$(BIN)/mkdocs serve

notebooks: .venv/ready  ## run every notebook again and store its outputs
	$(BIN)/python -m tools.notebooks run

clean:
	rm -rf .venv site build dist

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	$(BIN)/jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements  # no pop-up
	touch $@
