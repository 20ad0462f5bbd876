# make demo        environment, the demo campaign, paths of the results
# make demo-dft    a campaign that ends with a free DFT code (GPAW)
# make test        environment, all tests that need no cluster
# make test-slurm  a campaign on a real one-node SLURM (Debian packages, root)
# make lint        ruff, mypy, import-linter, snakefmt, snakemake --lint
# make bench       the measurements of speed in the docs
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.chggen-env
CORES ?= all
DFT_STAMP := $(VENV)/.chggen-gpaw
DFT_LIBRARIES := g++ libxc-dev libopenblas-dev libfftw3-dev
HAS_DFT_LIBRARIES := echo 'int main() {}' | g++ -x c++ -include xc.h - -lxc -lopenblas -o /dev/null 2>/dev/null

# the first interpreter of at least version 3.12
PYTHON := $(shell for p in python3.13 python3.12 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$p && break; done)

.PHONY: help env dft-env demo demo-dft test test-slurm lint bench train clean

help:
	@sed -n '/^#/!q;s/^# //p' Makefile

env: $(STAMP)

$(STAMP): envs/constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "chggen: Python 3.12 or newer is needed"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version); torch brings its CUDA libraries (5 GB)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint envs/constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint envs/constraints.txt --editable '.[dev,sevennet]'
	@touch $@

demo: env
	@started=$$(date +%s); \
	$(BIN)/snakemake --profile profiles/local --cores $(CORES) \
	&& echo "demo: ready ($$(( $$(date +%s) - started )) s). Look at" \
	&& ls results/*/report.html \
	&& echo "and at the table: $(BIN)/chggen show results/Zn-P-S/screened.parquet --sort decomposition_energy"

# GPAW, compiled against the libraries of the machine; GPAW_CONFIG replaces the default
# siteconfig, envs/gpaw_siteconfig.py
dft-env: $(DFT_STAMP)

$(DFT_STAMP): $(STAMP) envs/gpaw_siteconfig.py
	@$(HAS_DFT_LIBRARIES) || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get update -qq && apt-get install -y -qq --no-install-recommends $(DFT_LIBRARIES); } \
		|| { echo "chggen: GPAW needs: apt-get install $(DFT_LIBRARIES)"; exit 1; }
	GPAW_CONFIG="$${GPAW_CONFIG:-$(CURDIR)/envs/gpaw_siteconfig.py}" $(BIN)/uv pip install --quiet \
		--python $(BIN)/python --constraint envs/constraints.txt --editable '.[dev,sevennet,gpaw]'
	@touch $@

demo-dft: dft-env
	@started=$$(date +%s); \
	$(BIN)/snakemake --profile profiles/local --cores $(CORES) --configfile config/demo-dft.yaml \
	&& echo "demo-dft: ready ($$(( $$(date +%s) - started )) s). Look at results/Mg-Si/report.html" \
	&& $(BIN)/chggen show results/Mg-Si/collected.parquet

test: env
	$(BIN)/python -m pytest

# stops the cluster even if tests fail
test-slurm: env
	$(BIN)/python tests/slurm/cluster.py start
	$(BIN)/python -m pytest tests/slurm; result=$$?; \
	$(BIN)/python tests/slurm/cluster.py stop; exit $$result

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

bench: env
	$(BIN)/python benchmarks/relax.py --from generated
	$(BIN)/python benchmarks/relax.py
	$(BIN)/python benchmarks/agreement.py
	$(BIN)/python benchmarks/score.py
	$(BIN)/python benchmarks/generate.py

# DATA and VALIDATION are Parquet, CSV, extxyz or folders of CIFs (docs/training.md); without DATA the
# structures are taken from the Materials Project with the key in MP_API_KEY
train: env
	$(BIN)/chggen train $(if $(DATA),--data $(DATA)) $(if $(VALIDATION),--validation $(VALIDATION)) \
		$(if $(OUTPUT),--output $(OUTPUT))

clean:
	rm -rf results/* .snakemake
