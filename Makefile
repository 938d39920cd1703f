PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# The workers share the cores, as tests/conftest.py says; each takes up to 4 GB, so there are no more than four.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist worksteal

# What some tests need beside Python; without it they skip and say so.
TOOLS := g++ valgrind gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib qemu-system-arm chromium npm

# Kept bytecode: without it each worker, and each process that a test starts, compiles tests and sources anew.
unexport PYTHONDONTWRITEBYTECODE

# Types are checked beside the tests, on whichever core has nothing to do, and said behind them.
define with_types
@mkdir -p build; $(BIN)/mypy > build/mypy.log 2>&1 & types=$$!; \
  $(1); tests=$$?; wait $$types; types=$$?; cat build/mypy.log; exit $$((tests ? tests : types))
endef

.PHONY: demo check test style lint docs release clean

# The main job on its embedded default: two anchors trained on digits, the family between them.
demo: $(STAMP)
	$(BIN)/restnet-tf build

# While working: all that builds no family and converts no network.
check: style
	$(call with_types,$(PYTEST) -m "not slow")

# Everything; what cannot run here is named at the end.
test: style $(VENV)/tools
	$(call with_types,$(PYTEST))

style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint: style
	$(BIN)/mypy

# The documents as a site that opens from disk: build/docs/index.html.
docs: $(VENV)/docs
	$(BIN)/mkdocs build --quiet

$(VENV)/docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	touch $@

# Whether a version may go out: changelog, packages, and a demo of the wheel in an environment of its own.
release: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[release]"
	PYTHON=$(PYTHON) .ci/release

$(STAMP): pyproject.toml Makefile
	@echo "setting up $(VENV): some minutes, and about 3 GB of disk"
	$(PYTHON) -m venv $(VENV) || (apt-get install -y python3-venv && $(PYTHON) -m venv $(VENV))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev,cluster,mcu,mlflow,quant,tensorboard,tfmot,vit]"
	touch $@

# One by one: a package that a distribution lacks keeps no other away.
$(VENV)/tools: $(STAMP)
	(test "$$(id -u)" = 0 || { echo "only root can install them"; exit 1; }; \
	  timeout 120 apt-get update -qq || exit 1; \
	  for tool in $(TOOLS); do \
	    DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -qq --no-install-recommends $$tool || failed=1; \
	  done; exit $${failed:-0}) > $@.log 2>&1 \
	  || echo "not all installed: $(TOOLS) ($@.log says why); tests that need what is missing will skip"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
