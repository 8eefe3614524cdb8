"""A table as its records give it, for benchmarks that train in their own process."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tables import EVERY, Table
from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from kep.data.records import AnyRows, Records
from kep.data.schema import Manifest
from kep.models.family import step_rows

SPLITS = dict.fromkeys(("digits", "breast cancer", "wine", "diabetes"), 3)
"""Splits of a table, where its test rows are few; else there is one."""


@dataclass(frozen=True)
class Prepared:
    """Rows of a table by role.

    Attributes:
        manifest: Manifest of the records.
        train, validation, test: Rows of each role.
    """

    manifest: Manifest
    train: AnyRows
    validation: AnyRows
    test: AnyRows

    @property
    def task(self) -> str:
        return self.manifest.label.task

    @property
    def step_rows(self) -> int:
        """Rows of an optimiser step by default."""
        return step_rows(0, len(self.train))


@contextmanager
def prepared(name: str, seed: int, tables: Mapping[str, Callable[[int], Table]] = EVERY) -> Iterator[Prepared]:
    """Ingest a table of benchmarks/tables.py; the seed makes it, and gives its rows their roles."""
    with tempfile.TemporaryDirectory() as folder:
        source = tables[name](seed).write(Path(folder) / "rows.csv")
        manifest = ingest(DataSettings(source=str(source), label="y"), seed, Path(folder) / "out")
        records = Records(Path(folder) / "out", "tune")
        test = Records(Path(folder) / "out", "evaluate").load("test")
        yield Prepared(manifest, records.load("train"), records.load("validation"), test)


def one_thread() -> None:
    """Have TensorFlow use one thread: as many processes train side by side as there are cores."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
