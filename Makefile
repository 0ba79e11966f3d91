# Everything a person types. Each target sets up .venv by itself; `make` lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# What to run: override on the command line, such as `make sim PROMPT="JULIET:" TOKENS=20`.
CONFIG ?= base
MODEL ?= models/shakespeare-850k
PROMPT ?= ROMEO:
TOKENS ?= 48
TEMPERATURE ?= 0.7
SEED ?= 1
PYTHON ?= python3

VENV := .venv
PY := $(VENV)/bin/python
# The built-in Yosys writes the same Verilog on every machine, and so does one hash seed.
export PROMPT
export AMARANTH_USE_YOSYS := builtin
export PYTHONHASHSEED := 0
# The matrices are small: more BLAS threads only wait for each other.
export OPENBLAS_NUM_THREADS := 1

# Debian packages of the ASIC flow, of a second simulator and of a prover; everything else comes with pip.
DEBIAN_TOOLS := opensta qflow-tech-osu018 iverilog berkeley-abc

.PHONY: help setup tools sim test test-long mutate verilog asic fpga bench lint docs clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: CONFIG ($(CONFIG)), MODEL ($(MODEL)), PROMPT ($(PROMPT)), TOKENS ($(TOKENS)), TEMPERATURE ($(TEMPERATURE)), SEED ($(SEED))"

# One stamp file for each set of packages; each is made again when pyproject.toml changes.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	@command -v c++ >/dev/null || { echo "error: a C++ compiler is needed: install g++" >&2; exit 1; }
	@echo "setting up $(VENV) (about a minute) ..."
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || \
	  { echo "error: $(PYTHON) cannot make virtual environments: install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@$(PY) -m pip install -qq --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	@echo "adding packages for $* ..."
	@$(PY) -m pip install -qq --disable-pip-version-check --editable '.[$*]'
	@touch $@

setup: $(VENV)/.installed ## make .venv with everything that running needs

tools: ## install OpenSTA, the osu018 cell library, Icarus Verilog and ABC from Debian's packages (as root)
	@dpkg -s $(DEBIAN_TOOLS) >/dev/null 2>&1 || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null || \
	  { echo "error: as root: apt-get install $(DEBIAN_TOOLS)" >&2; exit 1; }; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends $(DEBIAN_TOOLS) >/dev/null; }

sim: $(VENV)/.installed ## load the shipped model into the chiplet, or into several (TORUS=2x2), generate text, compare every bit
	@$(VENV)/bin/tessera run --model $(MODEL) --config $(CONFIG) --prompt "$$PROMPT" \
	  --tokens $(TOKENS) --temperature $(TEMPERATURE) --seed $(SEED) \
	  $(if $(TORUS),--torus $(TORUS)) $(if $(TENSOR),--tensor-parallel $(TENSOR)) \
	  $(if $(PIPELINE),--pipeline-parallel $(PIPELINE)) $(if $(SEQUENCES),--sequences $(SEQUENCES)) $(if $(NOISE),--bit-error-rate $(NOISE))

test: $(VENV)/.installed-test ## run all tests but the slow ones
	@$(PY) -m pytest -n auto --dist worksteal -m "not slow"

test-long: $(VENV)/.installed-test ## run the slow tests
	@$(PY) -m pytest -m slow; status=$$?; test $$status -eq 5 && echo "no test is marked slow" || exit $$status

mutate: $(VENV)/.installed-test ## plant errors in the hardware, one at a time; each must make a test fail
	@$(PY) -m verif.mutation $(MUTANT)

verilog: $(VENV)/.installed ## write the Verilog of CONFIG to build/verilog/CONFIG
	@$(VENV)/bin/tessera verilog --config $(CONFIG) --out build/verilog/$(CONFIG) $(if $(NETWORK),--network)

asic: $(VENV)/.installed-flows ## netlist, timing and area of CONFIG in a cell library (LIBERTY=FILE, PERIOD=ns, NETWORK=1)
	@$(VENV)/bin/tessera asic --config $(CONFIG) --out build/asic/$(CONFIG) \
	  $(if $(NETWORK),--network) $(if $(LIBERTY),--liberty $(LIBERTY)) $(if $(PERIOD),--period $(PERIOD))

fpga: CONFIG = fpga
fpga: MODEL = $(if $(filter fpga,$(CONFIG)),models/shakespeare-217k)
fpga: $(VENV)/.installed-flows ## bitstream for the ULX3S 85F, and a report of timing and area (TORUS=2x2: with links to other boards)
	@$(VENV)/bin/tessera fpga --config $(CONFIG) --out build/fpga/$(CONFIG)$(if $(TORUS),_$(TORUS)) --seed $(SEED) \
	  $(if $(TORUS),--torus $(TORUS)) $(if $(MODEL),--model $(MODEL))

bench: $(VENV)/.installed ## measure every figure on the RTL and compare it with its limit
	@$(VENV)/bin/tessera bench --json build/bench.json

lint: $(VENV)/.installed-test $(VENV)/.installed-lint ## check style (ruff) and types (mypy)
	@$(PY) -m ruff check .
	@$(PY) -m mypy

docs: $(VENV)/.installed-flows ## write the pages that come from tables or from the emitted design
	@$(PY) -m hw.host.registers > docs/registers.md.part && mv docs/registers.md.part docs/registers.md
	@$(PY) -m compiler.isa_doc > docs/isa.md.part && mv docs/isa.md.part docs/isa.md
	@$(PY) -m hw.link.page > docs/link.md.part && mv docs/link.md.part docs/link.md
	@$(PY) -m hw.router.page > docs/router.md.part && mv docs/router.md.part docs/router.md
	@$(PY) -m hw.collective.page > docs/collective.md.part && mv docs/collective.md.part docs/collective.md
	@$(PY) -m hw.network.page > docs/network.md.part && mv docs/network.md.part docs/network.md
	@$(PY) -m hw.memory.page > docs/memories.md.part && mv docs/memories.md.part docs/memories.md
	@$(PY) -m flows.structure.page > docs/ports.md.part && mv docs/ports.md.part docs/ports.md

clean: ## remove everything that was generated, but not .venv
	@rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
