# make setup | demo | test | check       (PYTHON=python3.12 make setup picks another interpreter)

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: setup demo test check
.DEFAULT_GOAL := setup

setup: $(STAMP)

# torch by itself and first, at its exact version: a range would take the newest build and its gigabytes of CUDA.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,tensorboard,mlflow,ray,slurm,hdf5,dicom,export]'
	touch $@

demo: setup
	$(BIN)/maskmend demo

test: setup
	$(PYTEST)

check: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(PYTEST) -m "not slow"
