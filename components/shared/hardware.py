"""What a step may use of its machine."""

import os

from components.shared.settings import HardwareSettings


def limit_threads(config: str) -> None:
    """Applies `hardware.threads` to TensorFlow, OpenMP and BLAS; to be called before the first of their operations.

    Args:
        config: JSON of `HardwareSettings`.
    """
    threads = HardwareSettings.model_validate_json(config).threads
    if threads is not None:
        for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = str(threads)
