"""Trainings that share what was compiled."""

from typing import Any

import numpy as np

from kep.data.records import AnyRows
from kep.models.family import Settings
from kep.models.keras_family import KerasFamily
from kep.training.monitor import Monitor


def check_shared(
    made: KerasFamily, rows: tuple[AnyRows, AnyRows], settings: Settings, values: dict[str, Any], other: dict[str, Any]
) -> None:
    """Two configurations share a compiled training, and the second is what it is alone.

    Args:
        made: The family.
        rows: Train and validation rows.
        settings: Settings of each training.
        values: Hyperparameters of the first training.
        other: Hyperparameters that give other predictions.
    """
    alone, first, shared = (made.fit(one, *rows, settings, Monitor()) for one in (other, values, other))
    assert len(made._kept) == 1
    np.testing.assert_array_equal(shared.predictions, alone.predictions)
    assert not np.array_equal(first.predictions, alone.predictions)
