# `make check` is what a change must pass; the README's two commands are what a newcomer runs.
.PHONY: check format lint types layers tests benchmarks fidelity

PYTHON ?= python

check: lint types layers tests

format:
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

lint:
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

layers:
	$(PYTHON) -c "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"

tests:
	$(PYTHON) -m pytest

benchmarks:
	$(PYTHON) -m benchmarks

# FIDELITY="--cudnn FOLDER --python FILE" puts other versions beside this environment's
fidelity:
	$(PYTHON) -m benchmarks.fidelity $(FIDELITY)
