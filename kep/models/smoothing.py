"""Cross-entropy with label smoothing, which is seen by the gradient alone."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("kep")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of classes whose gradient is that of smoothed labels (Szegedy et al. 2016, "Rethinking Inception").

    Its value is the cross-entropy of the labels as they are, so that curves of a training can be compared with others.
    Labels are class indices [n], predictions probabilities [n, classes].

    Args:
        smoothing: Share of a label that is divided among all classes.
    """

    def __init__(self, smoothing: float, name: str = "smoothed_crossentropy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        classes = y_pred.shape[-1]
        labels = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), classes, dtype=y_pred.dtype)
        plain = ops.categorical_crossentropy(labels, y_pred)
        smooth = (1 - self.smoothing) * labels + self.smoothing / classes
        learned = ops.categorical_crossentropy(smooth, y_pred)
        return learned + ops.stop_gradient(plain - learned)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"smoothing": self.smoothing}
