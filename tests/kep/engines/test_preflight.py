"""`kep check`: what a run would do, on one screen, and what it would refuse."""

import json
import re

import pyarrow.compute as pc
import pytest
import yaml
from pyarrow import csv
from rich.console import Console

from kep.artifacts.report import Report
from kep.cli import main
from kep.config.run_file import validate
from kep.core.errors import UserError
from kep.data.schema import Manifest
from kep.engines.preflight import check, survey, trainings
from kep.pipelines.parameters import arguments
from tests.helpers.artifacts import best_epoch, candidate, member
from tests.helpers.paths import DATA
from tests.helpers.reports import whole

CHURN = {"source": str(DATA / "churn.csv"), "label": "churned"}


def settings(**sections):
    return validate({"name": "demo", "data": CHURN} | sections)


def screen(runs, **sections) -> str:
    console = Console(width=160, highlight=False)
    with console.capture() as captured:
        console.print(check(settings(**sections), DATA, runs))
    return captured.get()


def line(text: str, first: str) -> str:
    """The one line that starts with a word, with single spaces."""
    (found,) = [" ".join(one.split()) for one in text.splitlines() if one.split()[:1] == [first]]
    return found


def test_the_screen_says_what_the_data_are(tmp_path):
    table = csv.read_csv(DATA / "churn.csv")
    text = screen(tmp_path)
    assert f"{table.num_rows} rows" in line(text, "source")
    assert "churn.csv" in text
    assert line(text, "label") == "label churned (binary, positive class: yes; data.positive can name the other)"
    counts = {pair["values"]: pair["counts"] for pair in pc.value_counts(table["churned"]).to_pylist()}
    assert line(text, "classes") == f"classes no {counts['no']}, yes {counts['yes']}"
    roles = [int(number) for number in re.findall(r"(?:train|validation|test) (\d+)", line(text, "rows"))]
    assert len(roles) == 3
    assert sum(roles) == table.num_rows
    assert roles[0] > roles[1] > 0


@pytest.mark.parametrize(
    ("column", "kind"),
    [("months", "numeric"), ("plan", "categorical"), ("paperless", "boolean"), ("monthly_charge", "numeric")],
)
def test_the_screen_lists_every_column_with_its_type_and_its_gaps(tmp_path, column, kind):
    read = csv.read_csv(DATA / "churn.csv", convert_options=csv.ConvertOptions(strings_can_be_null=True))
    missing = read[column].null_count
    assert line(screen(tmp_path), column) == f"{column} {kind}" + (f" {missing}" if missing else "")


def test_a_regression_has_no_classes(tmp_path):
    text = screen(tmp_path, data={"source": str(DATA / "houses.csv"), "label": "price"})
    assert line(text, "label") == "label price (regression)"
    assert "classes" not in text


def test_the_screen_says_what_would_be_trained(tmp_path):
    text = screen(tmp_path, search={"max_trials": 12, "top_n": 3}, best_epoch={"seeds": 5})
    assert line(text, "families") == "families mlp, tabular, realmlp, boosted_trees"
    assert line(text, "trainings") == "trainings at most 30 (tune 12, best_epoch 15, retrain 3)"
    assert re.search(r"about [\d.]+ (min|h) \(a guess", line(text, "time"))


def test_images_are_searched_with_cnns_too(tmp_path):
    text = screen(tmp_path, data={"source": str(DATA / "shapes")})
    assert line(text, "families") == "families mlp, cnn, boosted_trees"
    assert line(text, "classes") == "classes circle 20, square 20"


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, {"tune": 30, "best_epoch": 12, "retrain": 4}),
        ({"search": {"max_trials": 2}}, {"tune": 2, "best_epoch": 6, "retrain": 2}),
        ({"ensemble": {"max_members": 3}}, {"tune": 30, "best_epoch": 12, "retrain": 3}),
        ({"retrain": {"enabled": False}}, {"tune": 30, "best_epoch": 12, "retrain": 0}),
    ],
)
def test_trainings_are_counted_as_the_steps_will_do_them(sections, expected):
    assert trainings(settings(**sections)) == expected


def last_run(records, runs, **asked) -> None:
    """The report of a run of 10 trials of 6 s, 2 candidates of 3 seeds of 20 s, and 2 members of 30 s."""
    steps = [("ingest", 2.0), ("tune", 60.0), ("best_epoch", 60.0), ("best_epoch", 60.0), ("retrain", 30.0)]
    told = Report.from_json(json.dumps(whole(Manifest.load(records("churn")))))
    role = told.manifest.roles["train"].model_copy(update={"rows": ROWS})
    step = told.steps[0]
    told.model_copy(
        update={
            "asked": settings(**asked),
            "study": told.study.model_copy(update={"executions": 10}),
            "best_epochs": [best_epoch(candidate("mlp-000"))] * 2,
            "members": [member("mlp-000", 0.5)] * 2,
            "manifest": told.manifest.model_copy(update={"roles": told.manifest.roles | {"train": role}}),
            "steps": [
                step.model_copy(update={"step": name, "seconds": seconds})
                for name, seconds in [*steps, ("retrain", 30.0)]
            ],
        }
    ).save(runs / "demo" / "latest")


ROWS = 360
"""Train rows of churn.csv under the default split."""


def test_the_time_follows_from_what_trainings_took_in_the_last_run(records, tmp_path):
    last_run(records, tmp_path, search={"max_trials": 10, "top_n": 2})
    same = screen(tmp_path, search={"max_trials": 10, "top_n": 2})
    # 2 + 60 + 120 / 2 + 60 / 2 seconds, and 4 for each pair of tasks to start.
    assert "train 360" in line(same, "rows")
    assert line(same, "time") == "time about 3 min (from the steps of the last run of demo; none reused)"
    more = screen(tmp_path, search={"max_trials": 100, "top_n": 2})
    assert line(more, "time").startswith("time about 12 min (from the steps")


@pytest.mark.parametrize("change", [{"search": {"max_epochs": 7}}, {"best_epoch": {"max_epochs": 7}}])
def test_a_last_run_that_trained_otherwise_says_nothing(records, tmp_path, change):
    last_run(records, tmp_path)
    assert "a guess" in line(screen(tmp_path, **change), "time")


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (2, r"time 120 s, as minutes says: about \d\d s of search, \d\d s for the other steps \(a guess\)"),
        (0.5, r"time minutes: 0.5 may not be met: \d\d s for the other steps \(a guess\), before any trial"),
    ],
)
def test_with_minutes_the_time_is_shared(records, tmp_path, minutes, words):
    last_run(records, tmp_path)
    shown = screen(tmp_path, minutes=minutes)
    assert re.fullmatch(words, line(shown, "time"))
    assert line(shown, "trainings") == "trainings as many as the time allows, for at most 12 candidates"


def test_more_trainings_are_guessed_to_take_longer(tmp_path):
    def minutes(trials: int) -> int:
        return int(re.search(r"about (\d+) min", screen(tmp_path, search={"max_trials": trials}))[1])

    assert minutes(30) < minutes(300) < minutes(3000)


def test_a_screen_of_many_columns_is_still_one_screen(tmp_path):
    names = [f"x{number}" for number in range(60)]
    rows = [",".join([*(str(row * 7 + n) for n in range(60)), str(row % 2)]) for row in range(60)]
    (tmp_path / "wide.csv").write_text("\n".join([",".join([*names, "y"]), *rows]) + "\n")
    text = screen(tmp_path, data={"source": str(tmp_path / "wide.csv"), "label": "y"})
    assert "60 features" in text
    assert "40 more" in text
    assert len(text.splitlines()) < 40


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"data": CHURN | {"label": "churnd"}}, 'did you mean "churned"'),
        ({"search": {"families": ["cnn"]}}, "cnn needs images"),
        ({"search": {"families": ["gone.py:build"]}}, "no file gone.py"),
        ({"search": {"families": ["hyperresnet"]}}, "hyperresnet needs images"),
        ({"ensemble": {"metric": "rmse"}}, '"rmse" is not a metric of a binary label'),
        ({"search": {"objective": {"name": "rmse"}}}, '"rmse" is not one of loss, accuracy'),
        ({"evaluate": {"slices": ["paln"]}}, 'evaluate.slices: "paln" is not a feature column; did you mean "plan"?'),
        (
            {"promote": {"metric": "rmse"}},
            "promote.metric: rmse is not a metric of a binary label; choose from loss, acc",
        ),
        ({"promote": {"require": {"r2": 0.5}}}, "promote.require.r2: r2 is not a metric of a binary label"),
        (
            {"evaluate": {"slices": ["plan"]}, "promote": {"require": {"slices": {"plan": {"mae": 1.0}}}}},
            "promote.require.slices.plan: mae is not a metric of a binary label",
        ),
        (
            {"evaluate": {"slices": ["customer"]}},
            r'column "customer" is left out \(nearly every value occurs once, so it cannot generalise\)',
        ),
        (
            {"data": CHURN | {"exclude": ["plan"]}, "evaluate": {"slices": ["plan"]}},
            r'column "plan" is left out \(data.exclude names it\); name a feature column',
        ),
        (
            {"data": CHURN | {"types": {"plan": "numeric"}}},
            r"correct it, or set data.types: \{plan: categorical\}",
        ),
        ({"data": {"source": "gone.csv", "label": "y"}}, '"gone.csv" does not exist'),
    ],
)
def test_what_a_run_would_refuse_is_refused(tmp_path, sections, words):
    with pytest.raises(UserError, match=words):
        check(settings(**sections), tmp_path, tmp_path)


def test_a_users_family_may_be_called_cnn(tmp_path):
    (tmp_path / "cnn.py").write_text(
        "import keras\n\ndef build(hp):\n    model = keras.Sequential([keras.layers.Dense(2, 'softmax')])\n"
        "    model.compile('adam', 'sparse_categorical_crossentropy')\n    return model\n"
    )
    console = Console(width=160)
    with console.capture() as captured:
        console.print(check(settings(search={"families": ["cnn.py:build"]}), tmp_path, tmp_path))
    assert line(captured.get(), "families") == "families cnn"


@pytest.mark.parametrize(("label", "status"), [("churned", 0), ("churnd", 2)])
def test_the_command_ends_with_status_2_on_a_bad_label_and_writes_nothing(tmp_path, monkeypatch, capsys, label, status):
    path = tmp_path / "demo.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps({"name": "demo", "data": CHURN | {"label": label}}))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["kep", "check", "demo.yaml"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert (ended.value.code or 0) == status
    out, err = capsys.readouterr()
    if status:
        assert err.startswith("error: ")
        assert out == ""
    else:
        assert "trainings" in out
    assert [path.name for path in tmp_path.iterdir()] == ["demo.yaml"]


def test_a_relative_source_starts_from_the_run_files_folder(tmp_path, monkeypatch, capsys):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.csv").write_bytes((DATA / "churn.csv").read_bytes())
    path = tmp_path / "deep" / "demo.yaml"
    path.write_text(yaml.safe_dump({"name": "demo", "data": {"source": "a.csv", "label": "churned"}}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["kep", "check", "deep/demo.yaml"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert not ended.value.code
    assert "churned" in capsys.readouterr().out


def test_more_folds_than_rows_are_refused_before_anything_trains(tmp_path):
    message = "best_epoch.folds: 400 folds of 480 train and validation rows are below 2 rows each; ask for at most 240"
    data = {"source": str(DATA / "churn.csv"), "label": "churned"}
    with pytest.raises(UserError, match=message):
        survey(validate({"name": "x", "data": data, "best_epoch": {"folds": 400}}), tmp_path)


def test_a_champion_that_is_a_file_is_refused_before_anything_trains(tmp_path):
    (tmp_path / "champion").touch()
    settings = validate({"name": "x", "data": {"source": "sklearn:iris"}, "promote": {"champion": "champion"}})
    with pytest.raises(UserError, match=r'promote\.champion: "champion" is no folder'):
        arguments(settings, tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["age [/years]", "[bold]x", ":smile: x", "back\\[slash"])
def test_the_command_shows_foreign_names_as_they_are(tmp_path, monkeypatch, capsys, name):
    """A column, its classes, the source's file and an error, though rich would read them as markup."""
    (tmp_path / ":smile:.csv").write_text(
        f"{name},x,la{name}\n" + "".join(f"{row},{row % 7},{name}{row % 2}\n" for row in range(120))
    )
    monkeypatch.chdir(tmp_path)
    for label, status in ((f"la{name}", 0), (f"no{name}", 2)):
        data = {"source": ":smile:.csv", "label": label}
        (tmp_path / "demo.yaml").write_text(yaml.safe_dump({"name": "demo", "data": data}))
        monkeypatch.setattr("sys.argv", ["kep", "check", "demo.yaml"])
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert (ended.value.code or 0) == status
        out, err = capsys.readouterr()
        assert label in err if status else all(one in out for one in (label, f"{name}0 60", data["source"]))


def test_mistakes_of_several_sections_are_told_of_together(tmp_path, monkeypatch, capsys):
    (tmp_path / "own.py").write_text("def build(hp):\n    raise ValueError('no model')\n")
    asked = {
        "name": "demo",
        "data": CHURN,
        "search": {"families": ["own.py:build", "cnn"], "objective": {"name": "rmse"}},
        "ensemble": {"metric": "r2"},
        "evaluate": {"slices": ["plam", "customer"]},
    }
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(asked))))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["kep", "check", "demo.yaml"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    starts = ("search.objective.name", "ensemble.metric", "search.families", "evaluate.slices", "evaluate.slices")
    assert [line.removeprefix("error: ").partition(": ")[0] for line in said] == [*starts, "search.families"]
    assert "no model" in said[-1]


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        ({"topic": "projects/p/topics/kep", "on": ["failed"]}, "told failed, by topic projects/p/topics/kep"),
        (
            {"webhook": "env:KEP_NOT_THERE", "command": "cat", "on": ["failed", "drift"]},
            "told failed, drift, by command cat; webhook env:KEP_NOT_THERE, which is not set here",
        ),
        (
            {"webhook": "https://hooks.example.com/T000-s3cr3t"},
            "told failed, not_promoted, promoted, drift, by webhook hooks.example.com",
        ),
    ],
)
def test_the_screen_says_who_will_be_told_what(tmp_path, notify, told):
    assert line(screen(tmp_path, notify=notify), "told") == told


def test_the_screen_says_nothing_where_nobody_is_told(tmp_path):
    assert "told" not in screen(tmp_path)
