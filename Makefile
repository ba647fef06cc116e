# make test    check everything             make demo    a first model, in a few minutes
# make lint    check the style only         make clean   remove what building and testing left
#
# All of it happens in .venv, which is made and kept up to date on the way.

# The first of these that is fit is used to make .venv; name another with make PYTHON=...
PYTHON ?= python3.11 python3.12 python3.13 python3
JOBS ?= 2
PYTEST_ARGS ?=
DEMO_ARGS ?=

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

# Less chatter from the C++ side of TensorFlow.
export TF_CPP_MIN_LOG_LEVEL ?= 1

.PHONY: test lint demo clean

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -q $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

demo: $(INSTALLED)
	$(BIN)/python -m train.demo $(DEMO_ARGS)

# The stamp is written last, so that the next run takes up an interrupted one. Whether that left
# something torn, in pip or in a package, is found out by using it; only then .venv is made anew.
$(INSTALLED): setup.py pyproject.toml constraints.txt
	@set -euo pipefail; \
	fit='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; \
	choose_python() { \
	    for python in $(PYTHON); do \
	        if "$$python" -c "$$fit" >/dev/null 2>&1; then echo "$$python"; return; fi; \
	    done; \
	    echo "abp_tf needs Python 3.11, 3.12 or 3.13 with its venv module; tried: $(PYTHON)." \
	        "Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	    return 1; \
	}; \
	install() { \
	    $(BIN)/python -m pip install --disable-pip-version-check \
	        -c constraints.txt -e ".[dev,demo,serving]" \
	    | while IFS= read -r line; do \
	        case "$$line" in \
	            *Collecting*|*Downloading*|*Installing*|*Successfully*) echo "$${line:0:99}";; \
	        esac; \
	    done; \
	}; \
	imports() { \
	    env -u KERAS_BACKEND $(BIN)/python -c \
	        'import keras, matplotlib, skimage, sklearn, tensorboard, tensorflow_serving'; \
	}; \
	has_pip() { $(BIN)/python -m pip --version >/dev/null 2>&1; }; \
	if ! has_pip; then \
	    python="$$(choose_python)"; \
	    echo "Making $(VENV) with $$python"; \
	    "$$python" -m venv $(VENV) || true; \
	    has_pip || "$$python" -m venv --clear $(VENV); \
	fi; \
	echo "Installing into $(VENV): some minutes and 3 GB the first time"; \
	install; \
	if ! imports; then \
	    python="$$(choose_python)"; \
	    echo "$(VENV) is damaged; making it anew with $$python"; \
	    "$$python" -m venv --clear $(VENV); \
	    install; \
	    imports; \
	fi; \
	touch $@

clean:
	rm -rf build dist .pytest_cache .ruff_cache abp_tf.egg-info
	find . -name .venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
