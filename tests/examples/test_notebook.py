"""The notebook runs from its first cell to its last one."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers.paths import ROOT

FILE = ROOT / "examples" / "notebook.ipynb"


def test_the_notebook_is_stored_without_results():
    cells = [cell for cell in nbformat.read(FILE, as_version=4).cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.slow
def test_every_cell_runs():
    notebook = nbformat.read(FILE, as_version=4)
    NotebookClient(notebook, timeout=500, kernel_name="python3").execute()
    told = "".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    for words in ("prediction", "increase of the loss", "its log-loss differs by", "test loss"):
        assert words in told, words
