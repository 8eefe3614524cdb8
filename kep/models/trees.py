"""What families of trees share: they read raw columns, need no TensorFlow, and fit every table and image."""

from typing import Any

from kep.artifacts.trials import Declared
from kep.data.records import AnyRows
from kep.data.schema import Manifest
from kep.models.family import Values

FEW_ROWS = 10_000
"""Below this many rows threads cost more time than they save, most of all where other trainings share the cores."""


class Trees:
    """A family of trees for the columns and the label of `manifest`.

    Attributes:
        library: Name of what fits the trees, for people.
    """

    looped = False
    library: str

    def __init__(self, manifest: Manifest) -> None:
        self._label = manifest.label

    def space(self) -> Any:
        """Return the search space, as of `Family`."""
        raise NotImplementedError

    def declared(self, values: Values) -> list[Declared]:
        """Return nothing: the space is the same for all values."""
        return []

    def sample(self) -> str:
        """Describe the default model for people."""
        values = ", ".join(f"{name} {value:g}" for name, value in self.space().values.items())
        return f"{self.library} {self._label.task}: {values}"

    def check(self, train: AnyRows) -> dict[str, float]:
        """Return nothing: every table and image fits."""
        return {}

    def reported(self, model: Any, rows: AnyRows) -> dict[str, float]:
        """Return nothing: trees have no metrics of their own."""
        return {}
