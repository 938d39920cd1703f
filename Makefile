PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

# What some tests need beside Python; without it they skip and say so.
TOOLS := g++ gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib qemu-system-arm chromium

.PHONY: demo test lint clean

# The main job on its embedded default: two anchors trained on digits, the family between them.
demo: $(STAMP)
	$(BIN)/restnet-tf build

test: lint $(VENV)/tools
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV) || (apt-get install -y python3-venv && $(PYTHON) -m venv $(VENV))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,mcu,vit]"
	touch $@

$(VENV)/tools: $(STAMP)
	(test "$$(id -u)" = 0 && timeout 120 apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -qq --no-install-recommends $(TOOLS)) \
	  > $@.log 2>&1 || echo "not installed: $(TOOLS); tests that need them will skip ($@.log says why)"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
