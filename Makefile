# make test        style, types, and all tests but the slow ones
# make test-slow   the slow ones
# make lint        style and types alone
# make docs        the documentation, docs/_build/html
# make demo        a first model, in a few minutes
# make clean       remove what building and testing left
#
# All of it happens in .venv, which is made on the way, and kept up to date with setup.py and
# constraints.txt. Whatever is wrong with it, `rm -rf .venv` and the next `make` mend it.

# The first of these that is there makes .venv; name another with make PYTHON=...
PYTHONS := python3.11 python3.12 python3.13 python3
PYTHON ?= $(shell for each in $(PYTHONS); do $$each -m venv -h >/dev/null 2>&1 && echo $$each && break; done)
JOBS ?= 2
PYTEST_ARGS ?=
DEMO_ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/installed
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile -q

# Less chatter from the C++ side of TensorFlow.
export TF_CPP_MIN_LOG_LEVEL ?= 1

.PHONY: test test-slow lint docs demo clean

test: lint
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-slow: $(INSTALLED)
	$(PYTEST) -m slow $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -W --keep-going -E -q docs docs/_build/html
	@echo "Look at docs/_build/html/index.html"

demo: $(INSTALLED)
	$(BIN)/python -m train.demo $(DEMO_ARGS)

# The stamp is written last, so that the next run takes up one that was interrupted.
$(INSTALLED): setup.py pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Expected one of $(PYTHONS), found none: make PYTHON=..." >&2; false; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@echo "Installing into .venv: some minutes and 3 GB the first time"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		-c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf build dist docs/_build .pytest_cache .ruff_cache abp_tf.egg-info
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
