"""The callback by which a user's own `fit` is watched: it counts the epochs, and says when there were enough."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras
import numpy as np

from kep.core.errors import UserError
from kep.training.monitor import Monitor

Logs = dict[str, float]
"""Figures of one epoch by name."""
After = Callable[[int, Logs], bool]
"""Callback after an epoch, with its 1-based number and its logs; returns whether to stop."""


class Watch(keras.callbacks.Callback):
    """Watches one training by a user's `fit`, whether Keras calls it or a loop of the user's own.

    Args:
        name: Name of the family, for messages.
        network: The network that trains.
        epochs: Number of epochs that the fit is asked for.
        rows: Number of rows that it trains on.
        monitor: Progress of the training.
        after: Called after each epoch, until there were enough.

    Attributes:
        epochs: Epochs so far.
        enough: Whether `after` has asked to stop.
    """

    def __init__(self, name: str, network: keras.Model, epochs: int, rows: int, monitor: Monitor, after: After) -> None:
        super().__init__()
        self.epochs, self.enough = 0, False
        self._name, self._network, self._asked, self._rows = name, network, epochs, rows
        self._monitor, self._after = monitor, after

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Tell the monitor that the training moves."""
        steps = (self.params or {}).get("steps") or batch + 1
        self._monitor.call(self.epochs + 1, batch + 1, steps, -(-self._rows // steps))

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Look at an epoch that has ended; what a training does after enough of them is passed over.

        Raises:
            UserError: It is one more than the fit was asked for.
        """
        self.epochs += 1
        if self.epochs > self._asked:
            raise miscounted(self._name, f"more than {self._asked}")
        if self.enough:
            return
        self.enough = self._after(self.epochs, numbers(logs or {}))
        if self.enough:
            self._network.stop_training = True
            # A model of the user's own around the network may be what trains.
            if self.model is not None:
                self.model.stop_training = True

    def check(self, whole: bool = False) -> None:
        """Refuse a training that the watch learnt nothing of.

        Args:
            whole: Whether it had to train as many epochs as it was asked for.

        Raises:
            UserError: There were no epochs, or not as many as there had to be.
        """
        if not self.epochs:
            raise UserError(
                f"search.families: fit() of {self._name} does not call the callbacks that it is given, so its best "
                "epoch can't be known; pass callbacks on to model.fit(), or call on_epoch_end(epoch, logs) of each"
            )
        if self.epochs > self._asked:  # and the fit caught what `on_epoch_end` raised
            raise miscounted(self._name, f"more than {self._asked}")
        if whole and not self.enough and self.epochs != self._asked:
            raise miscounted(self._name, f"{self.epochs} of {self._asked}")


class Begun(BaseException):
    """A training has begun: all that goes before it, such as hyperparameters, is known."""


class UntilItBegins(keras.callbacks.Callback):
    """Ends a training where it begins; a loop that tells only the ends of epochs trains one."""

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        raise Begun

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        raise Begun

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        raise Begun


def miscounted(name: str, trained: str) -> UserError:
    """Return the error for another number of epochs than a fit was asked for, such as "1 of 2"."""
    return UserError(
        f"search.families: fit() of {name} trained {trained} epochs that it was asked for; pass epochs on to "
        "model.fit(), or let its loop run for so many"
    )


def numbers(logs: Mapping[str, Any]) -> Logs:
    """Return the figures among an epoch's logs, or among what a fit returns."""
    return {name: float(np.asarray(value)) for name, value in logs.items() if np.ndim(value) == 0}


def of_validation(logs: Logs, trained: Collection[str] = ()) -> Logs:
    """Return the metrics that logs tell of the validation rows, by their plain names.

    A loop of a user's own names its figures as it likes, so those without `val_` count too, but for the loss.

    Args:
        logs: Figures by name.
        trained: Names that Keras gives to figures of the train rows.
    """
    watched = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
    free = {name: value for name, value in logs.items() if not name.startswith("val_") and name not in trained}
    return {name: value for name, value in (free | watched).items() if name != "loss"}
