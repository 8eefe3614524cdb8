"""What the end of a run prints."""

from io import StringIO

import pytest
from rich.console import Console

from kep.artifacts.evaluation import Interval
from kep.artifacts.weights import Weights
from kep.config.run_file import validate
from kep.core.errors import UserError
from kep.core.files import write_json
from kep.core.versions import revision
from kep.data.schema import Label
from kep.engines.local.finding import find
from kep.engines.local.results import _short, results_table
from kep.engines.local.run import _note_champion, new_folder
from tests.helpers.artifacts import UNKNOWN, evaluation, member


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (1073.4, 3, "1,070"),
        (631.2, 2, "630"),
        (0.03163, 3, "0.0316"),
        (18.66, 3, "18.7"),
        (1.0, 3, "1.00"),
        (0.00012, 2, "0.00012"),
        (-0.123, 2, "-0.12"),
        (0.0, 3, "0"),
    ],
)
def test_numbers_are_short_and_without_an_exponent_where_they_are_large(value, digits, text):
    assert _short(value, digits) == text


@pytest.mark.parametrize(
    ("task", "metrics"),
    [("binary", ["accuracy", "roc_auc"]), ("multiclass", ["accuracy", "f1"]), ("regression", ["rmse", "r2"])],
)
def test_the_table_of_results_fits_on_80_columns_members_first(task, metrics):
    score = Interval(value=1070.123456, low=630.123456, high=1700.123456)
    names = ["baseline", "boosted_trees-000", "mlp-001", "average of members", "ensemble"]
    scores = {name: {"loss": score, metrics[0]: score, metrics[1]: UNKNOWN, "other": score} for name in names}
    label = Label(name="y", task=task, classes=["no", "yes"])
    weighed = Weights.model_construct(
        members=[member("boosted_trees-000", 0.75), member("mlp-001", 0.25)],
        weights={"boosted_trees-000": 0.75, "mlp-001": 0.25},
    )
    out = StringIO()
    Console(file=out, width=80).print(
        results_table(label, evaluation(rows=359, scores=dict(sorted(scores.items()))), weighed, "loss")
    )
    lines = out.getvalue().splitlines()
    rows = [line for line in lines if line.startswith("│")]
    assert [next(name for name in names if name in row) for row in rows] == names
    assert "1,070 (630 to 1,700)" in rows[0]
    assert "0.750" in rows[1]
    assert ("positive class: yes" in lines[0]) == (task == "binary")
    assert "–" in rows[0]
    assert all(metric in lines[2] for metric in metrics)
    assert "other" not in lines[2]


def test_the_metric_that_was_asked_for_comes_first_with_its_interval():
    score, loss = Interval(value=0.8123, low=0.71, high=0.91), Interval(value=0.3, low=0.2, high=0.4)
    scores = {
        name: {"loss": loss, "pr_auc": score, "accuracy": loss}
        for name in ("baseline", "average of members", "ensemble")
    }
    weighed = Weights.model_construct(members=[], weights={})
    out = StringIO()
    Console(file=out, width=80).print(
        results_table(
            Label(name="y", task="binary", classes=["no", "yes"]), evaluation(scores=scores), weighed, "pr_auc"
        )
    )
    titles = next(line for line in out.getvalue().splitlines() if "pr_auc" in line)
    assert titles.index("pr_auc (95 % interval)") < titles.index("loss") < titles.index("accuracy")
    assert "0.812 (0.71 to 0.91)" in out.getvalue()


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path):
    folders = {new_folder(tmp_path / "digits") for _ in range(5)}
    assert len(folders) == 5
    assert all(folder.is_dir() for folder in folders)
    assert sorted(folders)[0].name < sorted(folders)[-1].name


def test_a_machine_without_git_has_no_revision(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert revision() is None


def note(tmp_path, champion: str | None) -> str:
    settings = validate({"name": "x", "data": {"source": "sklearn:iris"}, "promote": {"champion": champion}})
    out = StringIO()
    _note_champion(settings, tmp_path, Console(file=out, width=200))
    return out.getvalue()


def test_a_champions_folder_without_a_champion_is_noted(tmp_path):
    (tmp_path / "champions").mkdir()
    assert note(tmp_path, None) == ""
    assert 'holds no champion; did you mean "champions"?; this run\'s ensemble will be the first' in note(
        tmp_path, "champion"
    )
    write_json(tmp_path / "champions" / "champion.json", {"version": "0123"})
    assert note(tmp_path, "champions") == ""


def test_a_run_that_has_not_finished_names_its_log(tmp_path):
    (tmp_path / "demo" / "20260101-000000").mkdir(parents=True)
    (tmp_path / "demo" / "20260101-000000" / "log.txt").write_text("")
    with pytest.raises(UserError, match=r"000000 has not finished, so it has no report; its log is .*log\.txt"):
        find("demo", tmp_path)
    with pytest.raises(UserError, match="no finished run other"):
        find("other", tmp_path)
