"""Records as the steps get them: with their test rows sealed in a folder of their own."""

import shutil
from pathlib import Path

from kep.data.records import Records, Rows
from kep.data.sealed import seal, unsealed


def sealed(records: Path, root: Path) -> tuple[Path, Path]:
    """Copy records that hold all roles into `root`; return the folders of the records and of the sealed test rows."""
    own, test = root / "records", root / "test"
    if not own.exists():
        shutil.copytree(records, own)
        test.mkdir(exist_ok=True)
        seal(own, test)
    return own, test


def rows_of_test(test: Path) -> Rows:
    """Return the rows that are sealed in a folder."""
    with unsealed(test, "evaluate") as folder:
        return Records(folder, "evaluate").load("test")
