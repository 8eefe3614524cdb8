"""Which ensemble a name means."""

import pytest

from kep.core.errors import UserError
from kep.delivery.models import named


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
