# Slipway. `make help` lists every target; a fresh machine needs Python 3.11 to 3.13 and nothing else.
.NOTPARALLEL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CONFIG ?= configs/digits.yaml
SET ?=
RUN ?= latest
PORT ?=
VARIANTS ?=
DATA ?=
TARGET ?=
NAME ?=
FORCE ?=
PYTHON ?= python3
PIP_ARGS ?=

PY := .venv/bin/python
STAGE = $(PY) -m pipeline $@ --config $(CONFIG) --run $(RUN) $(SET)

.PHONY: help setup init prepare train evaluate prune distill export quantize benchmark select serve all config sanity lr-find resume-check sync mlflow tensorboard test test-slow soak check format bench bench-data bench-streaming bench-training bench-artifacts bench-serving image lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  CONFIG=configs/digits.yaml   the configuration'
	@echo '  SET="train.epochs=3 seed=1"  keys that win over it; `make config` shows all of them'
	@echo '  RUN=latest                   the run to work on: the newest that fits, or an id from runs/'
	@echo '  PORT=8080                    the port of `make serve`'
	@echo '  VARIANTS=[train,prune]       models that `make all` compares, train, prune and distill; default: all that the model allows'
	@echo '  DATA=my.csv TARGET=column    for `make init`; also NAME=mine, FORCE=1 to overwrite'
	@echo '  PIP_ARGS="..."               options for pip, such as another index for a CPU build of torch'

setup: .venv/.train .venv/.dev  ## make .venv and install everything; other targets install what they need

init: .venv/.train  ## look at DATA=my.csv (TARGET=column) and write a config for it
	@$(if $(DATA),,$(error say which data: make init DATA=my.csv TARGET=column))$(PY) -m pipeline init "$(DATA)" \
	  $(if $(TARGET),--target "$(TARGET)") $(if $(NAME),--name "$(NAME)") $(if $(FORCE),--force)

prepare: .venv/.train  ## read, check, split and measure the data; write its report
	@$(PY) -m pipeline prepare --config $(CONFIG) $(SET)

train: .venv/.train  ## train; keep the best and the last checkpoint
	@$(STAGE)

evaluate: .venv/.train  ## measure the model on the test split, with intervals
	@$(STAGE)

prune: .venv/.train  ## take the least important channels out of the model, and train it on
	@$(STAGE)

distill: .venv/.train  ## train a smaller model on what the model answers
	@$(STAGE)

export: .venv/.train  ## write ONNX and TorchScript, prove parity, make the bundle
	@$(STAGE)

quantize: .venv/.train  ## make 8-bit artifacts within what the metric may lose
	@$(STAGE)

benchmark: .venv/.train  ## measure every artifact side by side
	@$(STAGE)

select: .venv/.train  ## choose the artifact that fits the budget, say why, make its bundle
	@$(STAGE)

serve: .venv/.train  ## serve the bundle on PORT; Ctrl-C stops it
	@$(STAGE) $(if $(PORT),serve.port=$(PORT))

all: .venv/.train  ## everything up to the chosen, proven bundle, with VARIANTS of the model to choose from
	@$(STAGE) $(if $(VARIANTS),--variants "$(VARIANTS)")

config: .venv/.train  ## print the resolved configuration
	@$(PY) -m pipeline config --config $(CONFIG) $(SET)

sanity: .venv/.train  ## check rows, model and loss before training, in seconds
	@$(PY) -m pipeline sanity --config $(CONFIG) $(SET)

lr-find: .venv/.train  ## find a learning rate by a short range test, with a picture
	@$(PY) -m pipeline lr-find --config $(CONFIG) $(SET)

resume-check: .venv/.train  ## prove that a training killed at random moments and resumed loses nothing
	@$(PY) -m pipeline resume-check --config $(CONFIG) $(SET)

sync: .venv/.train  ## give the stores of mlflow.yaml what the journals have and they lack
	@$(PY) -m pipeline sync

mlflow: .venv/.train  ## open the MLflow UI
	@$(PY) -m pipeline mlflow

tensorboard: .venv/.train  ## open TensorBoard on all runs
	@$(PY) -m pipeline tensorboard

test: .venv/.dev  ## run the tests, in as many processes as there are cores, four at most
	@$(PY) -m pytest -n auto --maxprocesses 4

test-slow: .venv/.dev  ## run the tests that take minutes: training killed 22 times
	@$(PY) -m pytest -m slow

soak: .venv/.dev  ## run the service for ten minutes: overload, slow clients, swaps, signals, fuzz; SOAK=0.1 for a tenth
	@$(PY) -m pytest -m soak tests/serving/soak

check: .venv/.dev  ## lint, types and the laws of imports
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

format: .venv/.dev  ## format the code and mend what ruff can
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

bench: .venv/.dev  ## measure the accuracy of the shipped configs
	@$(PY) -m benchmarks.accuracy

bench-data: .venv/.train  ## measure prepare on tables of 0.1, 1 and 10 million rows beside pandas and scikit-learn
	@$(PY) -m benchmarks.data

bench-streaming: .venv/.train  ## measure training on 5 GB of rows streamed from disk
	@$(PY) -m benchmarks.streaming

bench-training: .venv/.bench  ## measure the training loop beside a bare loop, a DataLoader loop, Lightning and skorch
	@$(PY) -m benchmarks.training

bench-artifacts: .venv/.train  ## measure what pruning, quantization and ONNX Runtime give on two networks
	@$(PY) -m benchmarks.artifacts

bench-serving: .venv/.bench-serving  ## measure the service under load beside other model servers (needs wrk)
	@$(PY) -m benchmarks.serving

image: .venv/.train  ## build the container of the bundle that `make serve` would serve (needs Docker)
	@bundle=$$($(PY) -m pipeline bundle --without-torch --config $(CONFIG) --run $(RUN) $(SET)) || exit $$?; \
	  echo "docker build: $$bundle"; docker build --build-arg BUNDLE=$$bundle -t slipway .

lock: .venv/.dev  ## write the versions that are installed now into constraints.txt
	@.venv/bin/pip freeze --exclude-editable --exclude setuptools | sed -E 's/\+[a-z0-9.]+$$//; /^nvidia-|^cuda-|^triton==| @ /d' > constraints.txt

clean:  ## remove caches and unfinished stages; runs, data and .venv stay
	@rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis runs/*/*.partial data/prepared/*.partial
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# A stamp is written last, so an installation that was cut off starts again.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; ok = (3, 11) <= v[:2] < (3, 14); ok or sys.exit("Slipway needs Python 3.11 to 3.13, %s is %d.%d; try make PYTHON=python3.12" % (sys.executable, v[0], v[1]))'
	@$(PYTHON) -m venv .venv

.venv/.train: .venv/bin/python pyproject.toml constraints.txt
	@echo 'installing into .venv: about two minutes and 2 GB, once'
	@.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e '.[train]'
	@touch $@

.venv/.dev: .venv/.train
	@echo 'installing the tools for tests and checks'
	@.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e '.[train,dev]'
	@touch $@

.venv/.bench: .venv/.dev
	@echo 'installing Lightning and skorch, to measure against'
	@.venv/bin/pip install -q --disable-pip-version-check -c constraints.txt $(PIP_ARGS) -e '.[train,dev,bench]'
	@touch $@

.venv/.bench-serving: .venv/.train benchmarks/serving/stacks.py
	@echo 'installing other model servers, each into an environment of its own below .venv/peers: about three minutes and 2 GB, once'
	@$(PY) -m benchmarks.serving --install $(PIP_ARGS)
	@touch $@
