#!/usr/bin/env bash
# Seconds that an import takes in a container: first with the image's files out of the page cache, then twice more.
# For an engine with overlay2 on this machine, as root. usage: containers/cold_import.sh IMAGE MODULE
set -euo pipefail
image=$1 module=$2

docker image inspect --format '{{.GraphDriver.Data.UpperDir}}:{{.GraphDriver.Data.LowerDir}}' "$image" | python3 -c '
import os, pathlib
os.sync()
for layer in input().split(":"):
    for path in pathlib.Path(layer).rglob("*"):
        if path.is_file() and not path.is_symlink():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)
'
program="import time; t = time.perf_counter(); import $module; print(f'{time.perf_counter() - t:.1f} s')"
for _ in 1 2 3; do
    # libtpu would wait for Google Cloud's metadata server.
    docker run --rm --read-only --tmpfs /tmp --network none --env TPU_SKIP_MDS_QUERY=1 "$image" python -c "$program" 2>/dev/null
done
