"""Says whether TensorFlow and libtpu of an image fit: the library is loaded, has every function, and answers.

Needs no TPU. Without one libtpu says so itself, which is as far as it gets here.

    docker run --rm --interactive --network none keras-ensemble-pipelines/tpu python - <containers/tpu/check.py
"""

import os
import sys
from importlib.metadata import version
from pathlib import Path

# libtpu would ask the metadata server of Google Cloud what machine this is.
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
import tensorflow as tf

systems = tf.config.list_physical_devices("TPU_SYSTEM")
loaded = "libtpu.so" in Path("/proc/self/maps").read_text()
print(f"TensorFlow {tf.__version__}, libtpu {version('libtpu')}: loaded {loaded}, registered {bool(systems)}")
sys.exit(not (loaded and systems))
