#!/usr/bin/env bash
# Writes each image's requirements.txt, with hashes, from uv.lock. usage: containers/lock.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .venv/bin/uv)
out=${1:-containers}

export_lock() {  # name, options of uv export
    mkdir -p "$out/$1"
    "$uv" export --locked --quiet --no-header --no-annotate --no-emit-project "${@:2}" >"$out/$1/requirements.txt"
}

export_lock cpu --no-dev --extra cpu
export_lock gpu --no-dev --extra gpu
export_lock tpu --no-dev --extra tpu
# Steps that handle tables, weights and pointers need neither TensorFlow nor what only makes sense with it.
export_lock glue --no-dev --prune keras --prune keras-tuner --prune tensorboard --prune lightgbm --prune matplotlib
# Predicting needs no pipelines, no Google but Cloud Storage, and no charts.
export_lock serve --no-dev --extra cpu --extra serve --prune kfp --prune kfp-kubernetes --prune google-cloud-aiplatform \
    --prune matplotlib
export_lock build --only-group build
