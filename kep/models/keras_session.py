"""What Keras and TensorFlow remember of earlier models, which a process that trains many of them must forget."""

import gc
from functools import cache

import keras
from tensorflow.python.framework import ops

_GRADIENT = "CustomGradient-"
"""First letters of the names that TensorFlow gives to gradients of functions (`tf.custom_gradient`)."""


def clear_session() -> None:
    """Forget the names and the memory of earlier models, so that the next one is built as in a new process."""
    _leave_imports_alone()
    _forget_gradients()
    keras.backend.clear_session()


def _forget_gradients() -> None:
    """Let go of the gradients that TensorFlow registered while it traced functions.

    It registers them for good, and each holds the whole graph that it was traced in: 2 MB a network, or 8,000 objects,
    which every collection of garbage visits. Each trained network has one, since an optimiser sums gradients over
    replicas by such a function. A gradient is needed while its function is traced; that is over when the next model
    begins.
    """
    registered = ops.gradient_registry._registry
    for name in [name for name in list(registered) if name.startswith(_GRADIENT)]:
        del registered[name]


@cache
def _leave_imports_alone() -> None:
    """Let garbage collections of this process pass over what is there now.

    Keras collects garbage in each `clear_session`. That looked at a million objects of TensorFlow each time, and took
    as long as a short training.
    """
    gc.collect()
    gc.freeze()
