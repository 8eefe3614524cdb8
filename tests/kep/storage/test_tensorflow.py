"""TensorFlow's own way to gs:// reads what ingest wrote: over TLS, from the local server."""

import os
import subprocess
import sys

import pytest

from kep.data.schema import Manifest
from tests.servers import gcs as storage
from tests.servers.tunnel import Running, Tunnel

PROGRAM = """
import sys, tensorflow as tf
files = sorted(tf.io.gfile.glob(sys.argv[1]))
feature = {sys.argv[2]: tf.io.FixedLenFeature([], tf.int64)}
rows = [tf.io.parse_single_example(row, feature)[sys.argv[2]].numpy() for row in tf.data.TFRecordDataset(files)]
print(len(files), len(rows), *(rows.count(label) for label in range(2)))
"""


class Behind(Running):
    """A storage server under the two names that are built into TensorFlow."""

    def __init__(self, tunnel: Tunnel, server: storage.Server):
        handler = type("Handler", (storage._Handler,), {"storage": server})
        self._servers = [tunnel.https(host, handler) for host in (r"www\.googleapis\.com", r"storage\.googleapis\.com")]


@pytest.mark.parametrize("faulty", [pytest.param(False, marks=pytest.mark.slow), True])
def test_tensorflow_reads_the_shards_from_a_bucket(tunnel, records, faulty):
    server, folder = storage.Server("data"), records("churn")
    manifest = Manifest.load(folder)
    info = manifest.roles["train"]
    for path in folder.rglob("*.tfrecord"):
        server.put("data", f"records/{path.relative_to(folder).as_posix()}", path.read_bytes())
    if faulty:
        faults = [server.fault("tfrecord", "status", 503, 2), server.fault("tfrecord", "reset")]
    fast = {"GOOGLE_AUTH_TOKEN_FOR_TESTING": "x", "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "10000"}
    pattern = f"gs://data/records/{info.shards[0].file.rpartition('train')[0]}train*"
    with Behind(tunnel, server):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, pattern, manifest.label.name],
            env=os.environ | fast | {"CUDA_VISIBLE_DEVICES": "-1"},
            check=False,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    assert [int(word) for word in done.stdout.split()] == [len(info.shards), info.rows, *info.class_counts]
    if faulty:
        assert [fault.hits for fault in faults] == [2, 1]
    for host in (r"www\.googleapis\.com", r"storage\.googleapis\.com"):
        del tunnel.ports[host]
