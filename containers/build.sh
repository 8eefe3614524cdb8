#!/usr/bin/env bash
# Builds images as keras-ensemble-pipelines/NAME. usage: BASE=IMAGE containers/build.sh NAME…
set -euo pipefail
cd "$(dirname "$0")/.."
: "${BASE:?the base image, such as python:3.11-slim@sha256:…}"
REVISION=${REVISION:-$(git describe --always --dirty --abbrev=40)}

for name; do
    DOCKER_BUILDKIT=1 ${DOCKER:-docker} build --file containers/Dockerfile --target "$name" \
        --build-arg IMAGE="$name" --build-arg BASE="$BASE" --build-arg REVISION="$REVISION" --tag "keras-ensemble-pipelines/$name" .
done
