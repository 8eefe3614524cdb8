"""What the tests of a user's own families share: their file, and rows."""

import pytest

from kep.data.records import Records


@pytest.fixture
def own(request, tmp_path):
    """Folder of the file `own.py`, which holds the module's `OWN`."""
    (tmp_path / "own.py").write_text(request.module.OWN)
    return tmp_path


@pytest.fixture(scope="module")
def rows(request, records):
    """Manifest, train rows and validation rows of the module's `SOURCE`."""
    data = Records(records(request.module.SOURCE), "tune")
    return data.manifest, data.load("train"), data.load("validation")
