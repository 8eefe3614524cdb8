"""Files between tasks, and of a run: a damaged one is one sentence that names it."""

import json

import pytest

from kep.artifacts.drift import Drift
from kep.artifacts.predictions import PredictionSet, SourceSlice
from kep.components.ingest.tasks import SavedRoles, ScannedPart
from kep.core.errors import UserError
from kep.core.json_model import JsonFile
from kep.engines.local.cache import CacheEntry
from kep.engines.local.job import Job, Outcome
from kep.stats.observed import ObservedCounts, PredictedBins

FILES = (Drift, Job, ObservedCounts, Outcome, PredictedBins, PredictionSet, SavedRoles, ScannedPart, SourceSlice)
ROLES = SavedRoles(counts=[[3, 1], [2, 0], [1, 1]], extremes=[[0, 1]] * 3, dropped={"train": 0}, duplicates=0)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "{}", '{"rows": "many"}', "null"])
def test_a_damaged_file_is_one_sentence_with_its_path(tmp_path, kind: type[JsonFile], content: str):
    path = tmp_path / kind.FILE
    path.write_text(content)
    with pytest.raises(UserError) as refused:
        kind.load(tmp_path)
    assert str(refused.value).startswith(f"{path} does not hold {kind.KIND} (")
    assert str(refused.value).endswith(f"; {kind.REMEDY}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_not_there_is_one_sentence_with_its_path(tmp_path, kind: type[JsonFile]):
    with pytest.raises(UserError, match="can't be read"):
        kind.load(tmp_path)


def test_a_changed_number_is_noticed(tmp_path):
    ROLES.save(tmp_path)
    assert SavedRoles.load(tmp_path) == ROLES
    path = tmp_path / SavedRoles.FILE
    path.write_text(path.read_text().replace("3", "4", 1))
    with pytest.raises(UserError, match=r"roles\.json was changed after kep wrote it"):
        SavedRoles.load(tmp_path)


def test_a_cache_entry_without_its_fingerprint_is_refused(tmp_path):
    """There never were such entries, unlike other files of before there were fingerprints."""
    path = tmp_path / "entry.json"
    CacheEntry(key="k", outputs={}, digests={}).write(path)
    content = json.loads(path.read_text())
    del content["fingerprint"]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="its fingerprint is not that of its content"):
        CacheEntry.read(path)
