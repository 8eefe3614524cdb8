"""Adam with a learning rate and a weight decay of their own for each variable, which Keras's optimisers lack."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras

from kep.training.cos_log import flat_cosine
from kep.training.horizon import Horizon


@dataclass(frozen=True)
class Group:
    """How a variable is trained.

    Attributes:
        rate: Factor of the learning rate.
        decay: Factor of learning rate times weight decay.
        unit: Size of a step of the variable for a step of 1. It is trained as if it were this factor times a variable
            that is trained in its place, which Adam turns into a factor of the rate.
    """

    rate: float = 1.0
    decay: float = 1.0
    unit: float = 1.0


@keras.saving.register_keras_serializable("kep")
class GroupedAdam(keras.optimizers.Adam):
    """Adam, with a group for each variable and a weight decay that falls to 0 over the second half of a training.

    Decay is decoupled from the gradient (Loshchilov & Hutter 2019), and comes before the step of Adam.

    Args:
        learning_rate: Schedule that knows its end.
        groups: Groups of the trainable variables, in their order; as dictionaries when it is loaded.
        decay: Weight decay over the first half of a training.
        beta_2: Decay of Adam's second moment.
    """

    def __init__(
        self,
        learning_rate: Horizon,
        groups: Sequence[Group | dict[str, float]],
        decay: float = 0.0,
        beta_2: float = 0.95,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, beta_2=beta_2, **kwargs)
        self.groups = [group if isinstance(group, Group) else Group(**group) for group in groups]
        self.decay = decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        group = self.groups[self._get_variable_index(variable)]
        rate = learning_rate * group.rate
        if self.decay and group.decay:
            factor = learning_rate * group.decay * self.decay * flat_cosine(self._learning_rate.share(self.iterations))
            self.assign_sub(variable, variable * keras.ops.cast(factor, variable.dtype))
        if group.unit != 1:  # the gradient of an embedding can't be multiplied
            gradient, rate = gradient * group.unit, rate * group.unit
        super().update_step(gradient, variable, rate)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        return config | {"groups": [asdict(group) for group in self.groups], "decay": self.decay}
