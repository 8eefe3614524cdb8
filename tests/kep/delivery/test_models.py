"""Which ensemble a name means."""

from pathlib import Path

import pytest

from kep.core.errors import UserError
from kep.delivery.models import named
from tests.helpers.runs import done


def test_a_folder_of_versions_without_its_pointer_is_no_reason_to_take_another_run(tmp_path):
    (tmp_path / "champions" / "churn" / "versions" / "0123456789ab").mkdir(parents=True)
    (tmp_path / "churn" / "latest").mkdir(parents=True)
    words = r"churn holds versions \(0123456789ab\) and no champion\.json, which says which one serves; bring it back"
    with pytest.raises(UserError, match=words):
        named("churn", tmp_path)
    with pytest.raises(UserError, match=words):
        named(str(tmp_path / "champions" / "churn"), tmp_path)


def test_a_name_that_was_never_promoted_is_its_latest_run(tmp_path):
    (tmp_path / "champions" / "churn").mkdir(parents=True)
    with pytest.raises(UserError, match="no run"):
        named("churn", tmp_path)


@pytest.mark.parametrize("promoted", [True, False])
def test_a_name_says_that_its_newest_run_was_not_promoted(tmp_path, monkeypatch, caplog, promoted):
    run = done(tmp_path / "runs", "20260101-000000", promoted=promoted)
    (tmp_path / "runs" / "demo" / "latest").symlink_to(run)
    assert named("demo", tmp_path / "runs")[0].resolve() == run / "ensemble"
    said = (
        []
        if promoted
        else ["note: demo has no champion; this is its newest run, 20260101-000000, which was not promoted"]
    )
    assert caplog.messages == said
    caplog.clear()
    # Whoever names a run knows what it is, also where there is no folder of runs.
    monkeypatch.chdir(tmp_path / "runs")
    assert named(str(run), Path("elsewhere"))[0] == run / "ensemble"
    assert named("demo/20260101-000000", tmp_path / "runs")[0] == Path("demo/20260101-000000/ensemble")
    assert caplog.messages == []
