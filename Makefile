.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz test-slow test-tfjs test-axe test-infra test-containers lint format reference docs lock image image-gpu image-tpu sbom release compile bench bench-full screenshot clean

RUN ?= digits
UV ?= $(shell command -v uv 2>/dev/null || echo .venv/bin/uv)
export PYTHONDONTWRITEBYTECODE =
# LightGBM needs OpenMP, which a bare machine lacks; scikit-learn brings one.
export LD_LIBRARY_PATH := $(LD_LIBRARY_PATH):$(CURDIR)/.venv/lib/openmp

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk 'BEGIN {FS = ":.*## "} {printf "  make %-16s %s\n", $$1, $$2}'

setup: .venv/installed  ## Make the environment in .venv from uv.lock

# uv brings itself: where it is not installed, pip puts it into the environment that it then fills.
.venv/installed: pyproject.toml uv.lock
	@command -v uv >/dev/null || test -x .venv/bin/uv || { python3 -m venv .venv && .venv/bin/pip install --quiet uv; }
	$(UV) sync --locked --extra cpu --extra docker --extra serve --extra edge --inexact --quiet
	@mkdir -p .venv/lib/openmp
	@ln -sf $(CURDIR)/.venv/lib/python3.*/site-packages/scikit_learn.libs/libgomp-*.so* .venv/lib/openmp/libgomp.so.1
	@touch $@

demo: setup  ## Run the pipeline on real data: make demo [RUN=digits|breast_cancer|churn]
	.venv/bin/kep run pipelines/configs/$(RUN).yaml

# In the order of the files: xdist's own begins the file that takes longest at the end, where one process waits for it.
test: setup  ## Run every test but the long ones
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: setup  ## Run the tests of long trainings and of those that are killed again and again: some minutes
	.venv/bin/python -m pytest -n 2 -m slow

tests/tfjs/node_modules: .venv/installed tests/tfjs/package-lock.json
	$(UV) sync --locked --extra cpu --extra docker --extra serve --extra edge --group browser --inexact --quiet
	cd tests/tfjs && PATH=$(CURDIR)/.venv/bin:$$PATH npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# A minute or so each, with other inputs in each run.
FUZZ ?= 120

fuzz: setup  ## Try made-up object names, tensors and HTTP heads for longer: make fuzz [FUZZ=120, times as many as make test]
	KEP_FUZZ=$(FUZZ) .venv/bin/python -m pytest -m fuzz --timeout 3600

test-tfjs: setup tests/tfjs/node_modules  ## Run what is exported for TensorFlow.js in Node.js; both come from the package indexes
	PATH=$(CURDIR)/.venv/bin:$$PATH NODE_PATH=$(CURDIR)/tests/tfjs/node_modules .venv/bin/python -m pytest -m tfjs

tests/axe/node_modules: .venv/installed tests/axe/package-lock.json
	$(UV) sync --locked --extra cpu --extra docker --extra serve --extra edge --group browser --inexact --quiet
	cd tests/axe && PATH=$(CURDIR)/.venv/bin:$$PATH npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

test-axe: setup tests/axe/node_modules  ## Look for what keeps people from reading the pages, in Chromium with axe-core
	.venv/bin/python -m pytest -m axe

test-infra:  ## Validate infra/ and plan its modules with mocked providers; needs Terraform and its registry
	cd infra && terraform init -backend=false && terraform validate && terraform test

test-containers: setup image  ## Run the demo pipeline in the images; needs a container engine
	.venv/bin/python -m pytest -m containers

lint: setup  ## Check style, format, floors, types, English and Dockerfiles
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-cache
	.venv/bin/mypy
	.venv/bin/python -m docs.prose
	.venv/bin/hadolint containers/Dockerfile

format: setup  ## Format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

reference: setup  ## Write docs/reference from the code
	.venv/bin/python -m docs.generate

docs: setup  ## Build the documentation into build/site; a dead link is an error
	.venv/bin/sphinx-build --builder html --fail-on-warning --keep-going --quiet docs build/site

compile: setup  ## Compile the pipeline: make compile [RUN=digits]
	.venv/bin/kep compile pipelines/configs/$(RUN).yaml -o pipeline.yaml

# What is to be published needs it by digest: containers/push.sh refuses a base by tag.
BASE ?= python:3.11-slim

image:  ## Build the images cpu, glue and serve: make image [BASE=python:3.11-slim@sha256:…] [DOCKER=docker]
	BASE=$(BASE) containers/build.sh cpu glue serve

image-gpu:  ## Build the image for NVIDIA GPUs: several GB
	BASE=$(BASE) containers/build.sh gpu

image-tpu:  ## Build the image for TPUs up to v5e
	BASE=$(BASE) containers/build.sh tpu

sbom: setup  ## Write a CycloneDX bill of materials per image to build/sbom
	.venv/bin/python containers/sbom.py cpu glue gpu serve tpu

# The version stands in pyproject.toml alone.
VERSION = $(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q;}' pyproject.toml)

release: setup  ## Build the wheel, the site and, where a container engine is, the images; say what to publish
	@grep -q "^## $(VERSION)" CHANGELOG.md || { echo "error: CHANGELOG.md has no entry \"## $(VERSION)\"; name \"## Unreleased\" so, or change the version in pyproject.toml"; exit 2; }
	$(MAKE) docs
	rm -rf build/release
	.venv/bin/python -m hatchling build --target wheel --directory $(CURDIR)/build/release
	@if $${DOCKER:-docker} info >/dev/null 2>&1; then BASE=$(BASE) containers/build.sh cpu glue serve; \
		else echo "no container engine is here: the images are not built"; fi
	@echo "to publish version $(VERSION):"
	@echo "  tag     git tag v$(VERSION) && git push origin v$(VERSION)"
	@echo "  wheel   uv publish build/release/*.whl"
	@echo "  site    the folder build/site"
	@echo "  images  REVISION=$$(git describe --always --dirty --abbrev=40) containers/push.sh REPOSITORY cpu glue serve"

lock:  ## Write uv.lock, and each image's requirements from it
	$(UV) lock
	containers/lock.sh

bench: setup  ## The benchmarks' short versions, in some minutes: tables to standard output
	.venv/bin/python -m benchmarks.search
	.venv/bin/python -m benchmarks.growing
	.venv/bin/python -m benchmarks.ensemble weights solver
	.venv/bin/python -m benchmarks.records
	.venv/bin/python -m benchmarks.training
	.venv/bin/python -m benchmarks.serving
	.venv/bin/python -m benchmarks.verify
	.venv/bin/python -m benchmarks.columns
	.venv/bin/python -m benchmarks.retraining --trials 30 --rows 1000

bench-full: setup  ## The tables of the pages in docs, in about two hours
	.venv/bin/python -m benchmarks.search --full
	.venv/bin/python -m benchmarks.ensemble --splits 20
	.venv/bin/python -m benchmarks.records --full
	.venv/bin/python -m benchmarks.training --full
	.venv/bin/python -m benchmarks.serving --seconds 5
	.venv/bin/python -m benchmarks.retraining

CHROMIUM = chromium --headless --no-sandbox --disable-gpu --disable-background-networking --hide-scrollbars

screenshot: setup  ## Draw docs/images/report.png from the last demo (needs chromium)
	$(CHROMIUM) --user-data-dir=$$(mktemp -d) --window-size=1280,1535 --screenshot=$(CURDIR)/docs/images/report.png \
		file://$$(.venv/bin/kep report $(RUN)) 2>/dev/null
	.venv/bin/python -c "from PIL import Image; p = 'docs/images/report.png'; \
		Image.open(p).convert('RGB').quantize(64, dither=Image.Dither.NONE).save(p, optimize=True)"

clean:  ## Remove the environment; runs stay
	rm -rf .venv
