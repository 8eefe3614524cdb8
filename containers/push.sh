#!/usr/bin/env bash
# Pushes images that build.sh built, and writes containers/images.lock.yaml: name -> image by digest.
# usage: REVISION=… containers/push.sh REPOSITORY NAME…
set -euo pipefail
cd "$(dirname "$0")/.."
: "${REVISION:?the revision that the images were built from}"
repository=$1
shift

lock=$(mktemp)
echo "# Written by containers/push.sh when it has pushed the images, never by hand." >"$lock"
for name; do
    local="keras-ensemble-pipelines/$name" image="$repository/$name"
    base=$(docker image inspect --format '{{index .Config.Labels "org.opencontainers.image.base.name"}}' "$local")
    if [[ $base != *@sha256:* ]]; then
        echo "error: $local is built on $base; give BASE by its digest, so that the image can be built again" >&2
        exit 1
    fi
    docker tag "$local" "$image:$REVISION"
    docker push --quiet "$image:$REVISION"
    digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$local" | grep -F "$image@")
    echo "$name: $digest" >>"$lock"
done
chmod 644 "$lock"
mv "$lock" containers/images.lock.yaml
