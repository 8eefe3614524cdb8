"""The runs that `kep compare` takes, by name."""

import pytest

from kep.core.errors import UserError
from kep.engines.local.finding import find
from tests.helpers.runs import begun, champion, done


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("demo", "20260103-000000"),
        ("demo/20260101-000000", "20260101-000000"),
        ("demo@previous", "20260102-000000"),
        ("demo@champion", "20260101-000000"),
    ],
)
def test_a_run_by_its_name(tmp_path, name, run):
    for day in (1, 2, 3):
        done(tmp_path, f"2026010{day}-000000")
    begun(tmp_path, "20260104-000000")
    (tmp_path / "demo" / "latest").symlink_to("20260103-000000")
    champion(tmp_path, "20260101-000")
    assert find(name, tmp_path).resolve().name == run


@pytest.mark.parametrize("name", ["demo@previous", "demo@champion"])
def test_a_run_that_there_is_not_is_one_sentence(tmp_path, name):
    done(tmp_path, "20260101-000000")
    with pytest.raises(UserError, match=f"{name}: .* holds no run .*; `kep runs --name demo` lists them"):
        find(name, tmp_path)


def test_a_run_is_not_compared_with_itself(tmp_path, kep):
    done(tmp_path / "runs", "20260101-000000")
    code, _, err = kep("compare", "demo/20260101-000000", "runs/demo/20260101-000000")
    assert code == 2
    assert "are the same run" in err
