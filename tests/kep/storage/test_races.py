"""Two that would move one pointer at the same moment: one of them does, and the other knows."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from kep.storage import champions
from kep.storage.champions import Promotion


@pytest.fixture
def ensembles(tmp_path):
    folders = []
    for name in ("one", "other"):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        (folders[-1] / "ensemble.json").write_text(name)
    return folders


@pytest.mark.parametrize("before", [False, True])
def test_one_of_two_promotes_wins(tmp_path, ensembles, before):
    for attempt in range(12):
        folder = str(tmp_path / f"champions-{attempt}")
        if before:
            first = Promotion(version="0" * 12, reason="it is the first champion")
            assert champions.move(champions.read(folder), first, ensembles[0])
        both = Barrier(2)

        def promote(number: int, folder: str = folder, both: Barrier = both) -> bool:
            pointer = champions.read(folder)
            both.wait(10)
            promotion = Promotion(version=f"{number + 1:012d}", reason="it is the first champion")
            return champions.move(pointer, promotion, ensembles[number])

        with ThreadPoolExecutor(2) as pool:
            won = list(pool.map(promote, range(2)))
        assert sorted(won) == [False, True]
        assert champions.read(folder).version == f"{won.index(True) + 1:012d}"
        assert len(champions.versions(folder)) == 2 + before


def test_openings_of_many_at_once_are_all_counted(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        notes = pool.map(lambda number: champions.note_opening(str(tmp_path), "rows", f"v{number}"), range(8))
        counts = [note.ensembles for note in notes]
    assert sorted(counts) == list(range(1, 9))
    assert champions.note_opening(str(tmp_path), "rows", "v3").ensembles == 8
    assert champions.note_opening(str(tmp_path), "other rows", "v3").ensembles == 1


def test_openings_on_cloud_storage_are_counted_too(gcs):
    for number, count in ((1, 1), (2, 2), (1, 2)):
        assert champions.note_opening("gs://data/champions/churn", "rows", f"v{number}").ensembles == count
