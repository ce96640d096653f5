PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install pretrain test check results

# A virtual environment with aura and its tools.
install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

# The quickstart: synthetic shards, then four modalities in one space. A finished run prints its results again.
pretrain: install data/synthetic/manifest.json
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no recipes/pretrain.py

data/synthetic/manifest.json:
	$(BIN)/python -m shards.synthetic --out data/synthetic --workers 2 --resume

test: install
	$(BIN)/python -m pytest -q

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q

# The figures of docs/results.md: hours, resumable. Needs the shards that tools/results.py names.
results: install
	$(BIN)/python tools/results.py
