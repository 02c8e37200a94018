# Everything a bare machine with Python >= 3.11 and make needs: `make demo`, `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests run in parallel, one file on one worker, so that a server a file starts is started once.
WORKERS ?= 2

.DEFAULT_GOAL := help
CRASH ?=
CASES ?=
MULTINODE ?=
HOSTILE ?=
.PHONY: help setup demo test test-cluster test-nightly test-multinode crash-matrix store-faults hostile lint types check chart image sbom base-digest docs docs-check man lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with the locked packages

# pip, not uv: it comes with Python, and it takes mirrors and certificates from where a machine's owner has
# set them (pip.conf, PIP_*), which uv does not read. Every file's hash is checked.
$(STAMP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python >= 3.11 is needed; name one: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages (TensorFlow is large) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.demo/flights/_COMPLETE: examples/flights/make_data.py | $(STAMP)
	@$(BIN)/python examples/flights/make_data.py .demo/flights

demo: .demo/flights/_COMPLETE ## Train on the flights of 2013 and show where report and model lie
	@$(BIN)/trainer fit examples/flights/job.yaml

test: $(STAMP) ## Run the tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -q

test-multinode: $(STAMP) ## Hurt runs of several workers in every way, compare their ends (MULTINODE="--only ..." is less)
	@$(BIN)/python -m tests.multinode $(MULTINODE)

crash-matrix: $(STAMP) ## Kill a run everywhere, start it again, compare (an hour; CRASH="--kills 20 --operations 20" is less)
	@$(BIN)/python -m tests.faults.crash_matrix $(CRASH)

store-faults: $(STAMP) ## What a run does when its store fails it: a table
	@$(BIN)/python -m tests.faults.store_faults

hostile: $(STAMP) ## Run all hostile inputs and print a table (HOSTILE="--only names" is less)
	@$(BIN)/python -m tests.hostile $(HOSTILE)

lint: $(STAMP) ## Check style and that imports go down
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --diff .
	@$(BIN)/lint-imports

types: $(STAMP) ## Check types, strictly
	@$(BIN)/mypy

docs: $(STAMP) ## Write the generated pages of docs/ and of the chart
	@TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python -m trainer.model.objective.keras_table trainer/config
	@$(BIN)/python -m trainer.config.reference docs
	@$(BIN)/python -m k8s.chart.reference charts/training-job

docs-check: $(STAMP) ## Fail where a generated page is stale
	@$(BIN)/python -m trainer.config.reference --check docs
	@$(BIN)/python -m k8s.chart.reference --check charts/training-job

man: $(STAMP) ## Write man pages and completions of kfit into build/
	@$(BIN)/kfit man build/man/man1
	@mkdir -p build/completions && for shell in bash zsh fish; do \
	  $(BIN)/kfit completion $$shell > build/completions/kfit.$$shell || exit 1; done

chart: $(STAMP) ## Lint the chart and pack it into dist/
	@helm=$$($(BIN)/python -m tests.tools helm) && mkdir -p dist \
	  && $$helm lint --strict charts/training-job && $$helm package charts/training-job --destination dist

# Any builder that reads a Dockerfile. BUILD_FLAGS: --secret id=pip,src=/etc/pip.conf for an index of your own,
# --build-arg LOCK=gpu for CUDA.
BUILDER ?= $(firstword $(foreach b,docker podman buildah,$(if $(shell which $(b)),$(b))))
IMAGE ?= localhost/trainer:dev
# The commit's time for all files of an image, so that a commit gives the same layers whenever it is built.
EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
# docker takes it from the environment; the others want flags, and buildah makes one layer of all without the second.
BUILD ?= SOURCE_DATE_EPOCH=$(EPOCH) $(BUILDER) build $(if $(filter docker,$(BUILDER)),,--timestamp $(EPOCH) --layers)
# A colon before the last slash is that of the registry's port.
TAG = $(or $(word 2,$(subst :, ,$(notdir $(IMAGE)))),latest)
image: ## Build the trainer's image (BUILDER=…, BUILD_FLAGS=…, IMAGE=…)
	@test -n "$(BUILDER)" || { echo "no docker, podman or buildah on PATH: install one, or name one: make image BUILDER=…"; exit 1; }
	$(BUILD) $(BUILD_FLAGS) --build-arg VERSION=$(TAG) \
	  --build-arg REVISION=$(shell git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown) --tag $(IMAGE) .

ENGINE ?= $(if $(filter docker,$(BUILDER)),docker,podman)
sbom: ## Copy the image's bill of materials, CycloneDX, into dist/ (IMAGE=…)
	@which $(ENGINE) >/dev/null || { echo "no $(ENGINE) on PATH: install it, or name another: make sbom ENGINE=…"; exit 1; }
	@mkdir -p dist; id=$$($(ENGINE) create $(IMAGE)) || exit 1; $(ENGINE) cp $$id:/opt/kfit/kfit.cdx.json dist/kfit.cdx.json; \
	  status=$$?; $(ENGINE) rm $$id >/dev/null && exit $$status

BASE_TAG = $(shell sed -n 's/^ARG BASE=\([^@]*\)@.*/\1/p' Dockerfile)
base-digest: ## Renew the digest of the base image in the Dockerfile (needs skopeo, or docker with buildx)
	@digest=$$(if which skopeo >/dev/null; then skopeo inspect --format '{{.Digest}}' docker://$(BASE_TAG); \
	  else docker buildx imagetools inspect --format '{{.Manifest.Digest}}' $(BASE_TAG); fi) \
	  && echo "$$digest" | grep -Eqx 'sha256:[0-9a-f]{64}' || { echo "no digest of $(BASE_TAG): $$digest"; exit 1; }; \
	  sed -i.old "s|^ARG BASE=.*|ARG BASE=$(BASE_TAG)@$$digest|" Dockerfile && rm Dockerfile.old && grep '^ARG BASE=' Dockerfile

check: lint types docs-check test ## All of the above that can fail

# Universal: one file for Linux and macOS and every Python from 3.11. uv resolves that; pip cannot.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
  --no-emit-index-url --no-emit-find-links
lock: $(STAMP) ## Resolve requirements/*.lock anew (LOCK_FLAGS=--upgrade for newer versions)
	@$(BIN)/python -m pip install --quiet uv
	$(LOCK) pyproject.toml --extra train --extra s3 --group dev --output-file requirements/dev.lock $(LOCK_FLAGS)
	for lock in cpu gpu; do $(LOCK) pyproject.toml --extra $$lock --extra s3 --extra gcs --extra azure \
	  -c requirements/dev.lock --output-file requirements/$$lock.lock $(LOCK_FLAGS) || exit 1; done
	$(LOCK) --group build -c requirements/dev.lock --output-file requirements/build.lock $(LOCK_FLAGS)

test-cluster: $(STAMP) ## Run the tests on the cluster that KUBECONFIG names; they make namespaces there (CASES=...)
	@KFIT_TEST_CLUSTER=1 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest tests/cluster -q $(CASES)

test-nightly: $(STAMP) ## Run the nights on the cluster that KUBECONFIG names: promoted, skipped, refused, rolled back
	@KFIT_TEST_CLUSTER=1 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest tests/cluster/test_nights.py -q

clean: ## Remove what make made
	rm -rf $(VENV) .demo .cache build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
