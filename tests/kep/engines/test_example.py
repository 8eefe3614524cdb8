"""The example run file: it runs as it is, its comments are the defaults, and it is found from its own folder."""

import os
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet
from ruamel.yaml import YAML

from kep.cli.main import main
from kep.components.ingest.inspect import inspect
from kep.config.run_file import RunFile, load, validate
from kep.config.section import Section
from kep.core.errors import UserError
from kep.engines.example import EVERYDAY, example
from kep.pipelines.parameters import located
from tests.helpers.paths import DATA


@pytest.fixture
def kep(tmp_path, monkeypatch):
    """Function that runs `kep init` in a folder with a copy of churn.csv in `data/`; returns its exit status."""
    (tmp_path / "data").mkdir()
    shutil.copy(DATA / "churn.csv", tmp_path / "data")
    monkeypatch.chdir(tmp_path)

    def init(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["kep", "init", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0

    return init


def uncommented(text: str) -> str:
    """The text with every commented setting made a setting, section by section."""
    lines, sections = [], [RunFile]
    for line in text.splitlines():
        match = re.fullmatch(r"( *)# ( *)(\w+):(.*)|( *)(\w+):(.*)", line)
        key = match and (match[3] or match[6])
        if not key:
            lines.append(line)
            continue
        depth = len((match[1] + match[2]) if match[3] else match[5]) // 2
        named = {} if depth >= len(sections) else {f.alias or n: f for n, f in sections[depth].model_fields.items()}
        if key not in named:
            lines.append(line)  # the words of a description
            continue
        annotation = named[key].annotation
        del sections[depth + 1 :]
        if isinstance(annotation, type) and issubclass(annotation, Section):
            sections.append(annotation)
        lines.append("  " * depth + f"{key}:{match[4] if match[3] else match[7]}")
    return "\n".join(lines)


def keys(section: type[Section]) -> dict:
    """Every key of a section, nested."""
    return {
        field.alias or name: keys(field.annotation)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        else None
        for name, field in section.model_fields.items()
    }


def paths(content: dict, before: str = "") -> list[str]:
    """The keys of nested sections, joined by dots."""
    return [
        path
        for key, value in content.items()
        for path in (paths(value, f"{before}{key}.") if isinstance(value, dict) else [f"{before}{key}"])
    ]


def shape(value, like: dict | None) -> dict | None:
    return None if like is None else {name: shape(item, like.get(name)) for name, item in value.items()}


@pytest.mark.parametrize(
    ("source", "label", "given"),
    [
        ("churn.csv", None, {"source": "churn.csv", "label": "churned"}),
        ("churn.csv", "plan", {"source": "churn.csv", "label": "plan"}),
        ("sklearn:breast_cancer", None, {"source": "sklearn:breast_cancer"}),
        ("shapes", None, {"source": "shapes"}),
    ],
)
def test_the_comments_of_an_example_are_all_the_settings_with_their_defaults(source, label, given):
    text = example(source, label, DATA, full=True)
    name = given["source"].rpartition(":")[2].split(".")[0].replace("_", "-")
    plain = validate({"name": name, "data": given})
    assert validate(yaml.safe_load(text)) == plain
    everything = YAML(typ="safe", pure=True).load(uncommented(text))  # 1.2, where `on` is a key
    assert shape(everything, keys(RunFile)) == keys(RunFile)
    assert validate(everything) == plain


def test_every_setting_is_described_above_it():
    lines = example("churn.csv", None, DATA, full=True).splitlines()
    described = [line for line in lines if "Share of" in line or "Number of trials over all families" in line]
    assert described
    assert all(line.lstrip().startswith("#") for line in described)
    assert max(map(len, lines)) <= 120


def test_a_short_example_holds_the_settings_that_people_change():
    text = example("churn.csv", None, DATA)
    plain = {"name": "churn", "data": {"source": "churn.csv", "label": "churned"}}
    assert validate(yaml.safe_load(text)) == validate(plain)
    everything = YAML(typ="safe", pure=True).load(uncommented(text))
    assert set(paths(everything)) == set(EVERYDAY)
    assert validate(everything) == validate(plain)
    assert len(text.splitlines()) <= 60


def test_a_short_example_holds_what_was_found(kep, tmp_path):
    (tmp_path / "rows.csv").write_text("a;b\n1;2\n")
    assert kep("rows.csv") == 0
    assert "delimiter" in (tmp_path / "rows.yaml").read_text()
    assert "latency_rows" not in (tmp_path / "rows.yaml").read_text()
    assert kep("rows.csv", "--full", "--force") == 0
    assert "latency_rows" in (tmp_path / "rows.yaml").read_text()


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        (["a", "target", "b"], "target"),
        (["a", "Label", "target"], "Label"),
        (["a", "b", "c"], "c"),
        (["Y", "b"], "Y"),
    ],
)
def test_the_label_is_guessed_by_its_name_or_is_the_last_column(tmp_path, columns, label):
    (tmp_path / "a.csv").write_text(",".join(columns) + "\n" + ",".join("1" for _ in columns) + "\n")
    parquet.write_table(pa.table({name: [1] for name in columns}), tmp_path / "a.parquet")
    for source in ("a.csv", "a.parquet"):
        assert yaml.safe_load(example(source, None, tmp_path))["data"]["label"] == label


def test_sources_without_columns_get_no_label(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.zeros(3))
    assert yaml.safe_load(example("a.npz", None, tmp_path))["data"] == {"source": "a.npz"}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("My Data (1).csv", "my-data-1"),
        ("2024.csv", "2024"),
        ("true.csv", "true"),
        ("___.csv", "run"),
        ("a" * 70 + ".csv", "a" * 50),
    ],
)
def test_the_name_of_a_run_is_made_from_any_file_name(tmp_path, file, name):
    (tmp_path / file).write_text("a,b\n1,2\n")
    run = validate(yaml.safe_load(example(file, None, tmp_path)))
    assert (run.name, run.data.source) == (name, file)


def test_a_source_that_does_not_exist_is_refused_with_its_neighbour():
    with pytest.raises(UserError, match=r'did you mean "churn.csv"'):
        example("chrun.csv", None, DATA)


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_a_file_without_columns_is_the_users_mistake(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.csv"):
        example("a.csv", None, tmp_path)
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.parquet"):
        example("a.parquet", None, tmp_path)


def test_init_writes_a_run_file_named_after_the_data(kep, tmp_path, capsys):
    assert kep("data/churn.csv") == 0
    run = load(tmp_path / "churn.yaml")
    assert (run.name, run.data.source, run.data.label) == ("churn", "data/churn.csv", "churned")
    assert "kep check churn.yaml" in capsys.readouterr().out


def test_a_name_that_yaml_quotes_is_not_quoted_in_the_file_name(kep, tmp_path):
    (tmp_path / "2024.csv").write_text("a,b\n1,2\n")
    assert kep("2024.csv") == 0
    assert load(tmp_path / "2024.yaml").name == "2024"


def test_init_does_not_replace_a_file_unless_it_must(kep, tmp_path, capsys):
    (tmp_path / "churn.yaml").write_text("mine")
    assert kep("data/churn.csv") == 2
    assert "churn.yaml exists already" in capsys.readouterr().err
    assert (tmp_path / "churn.yaml").read_text() == "mine"
    assert kep("data/churn.csv", "--force") == 0
    assert load(tmp_path / "churn.yaml").name == "churn"


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("data/churn.csv", "runs/a/my.yaml"),
        ("data/churn.csv", "data/my.yaml"),
        ("./data/../data/churn.csv", "my.yaml"),
        ("data/*.csv", "runs/my.yaml"),
        ("data", "../my.yaml"),
        ("ABSOLUTE/data/churn.csv", "runs/my.yaml"),
        ("data/churn.csv", "ABSOLUTE/runs/my.yaml"),
        ("data/churn.csv", "link/my.yaml"),
    ],
)
def test_the_source_is_found_from_the_run_files_folder(kep, tmp_path, monkeypatch, source, output):
    here = tmp_path / "data" if output.startswith("..") else tmp_path
    monkeypatch.chdir(here)
    if here != tmp_path:
        source = "../data"
    (tmp_path / "far/away/from/here").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far/away/from/here")
    source, output = (text.replace("ABSOLUTE", str(tmp_path)) for text in (source, output))
    assert kep(source, "-o", output, "--label", "churned") == 0
    path = here / output
    run = load(path)
    found = located(run.data, path.parent).source
    expected = os.path.realpath(here / source)
    assert os.path.realpath(found) == expected
    assert os.path.isabs(run.data.source) == os.path.isabs(source)


def test_a_source_that_is_no_path_stays_as_it_is(kep, tmp_path):
    assert kep("sklearn:digits", "-o", "runs/my.yaml") == 0
    assert load(tmp_path / "runs" / "my.yaml").data.source == "sklearn:digits"


def test_a_path_from_home_stays_as_it_is(kep, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kep("~/data/churn.csv", "-o", "runs/my.yaml") == 0
    assert load(tmp_path / "runs" / "my.yaml").data.source == "~/data/churn.csv"


@pytest.mark.parametrize(("delimiter", "written"), [(",", None), (";", ";"), ("\t", "\t"), ("|", "|")])
def test_the_delimiter_is_found(kep, tmp_path, capsys, delimiter, written):
    rows = [f'{i},5|"{i % 3}, {i}; or so"|{"no" if i % 2 else "yes"}' for i in range(60)]
    if delimiter == ",":
        rows = [row.replace(",5|", ".5|") for row in rows]
    text = "\n".join(["price|note|bought", *rows]) + "\n"
    (tmp_path / "rows.csv").write_text(text.replace("|", delimiter))
    assert kep("rows.csv") == 0
    assert load(tmp_path / "rows.yaml").data.delimiter == (written or ",")
    assert ("delimiter" in yaml.safe_load((tmp_path / "rows.yaml").read_text())["data"]) == (written is not None)
    assert "label: guessed bought; change it with --label" in capsys.readouterr().out


CHURN = (DATA / "churn.csv").read_text()


@pytest.mark.parametrize(
    ("name", "data", "arguments", "sentence"),
    [
        ("rows.csv", CHURN.encode("utf-16"), [], "rows.csv is UTF-16; convert it to UTF-8, such as with iconv"),
        (
            "rows.csv",
            CHURN.replace("south", "sür").encode("latin1"),
            [],
            "rows.csv is not UTF-8 (byte 0xfc at position",
        ),
        (
            "rows.csv",
            CHURN.encode(),
            ["--label", "churnd"],
            'column "churnd" not found in rows.csv; did you mean "churned"',
        ),
        ("rows.csv", CHURN.splitlines()[0].encode() + b"\n", [], "rows.csv has no rows; give at least a few per class"),
        ("rows.csv", b"", [], "rows.csv is empty; give a file with a header line and rows"),
        ("rows.csv", b'"' + b"a" * 200_000, [], "the header line of rows.csv can't be read (field larger than"),
        ("rows.csv", b"a,b\r1,2\r3\r", [], "line 3 of rows.csv has 1 values, the header line has 2"),
        ("rows.xlsx", b"PK", [], '"rows.xlsx" ends in ".xlsx", which no reader knows'),
        ("rows.parquet", b"PK", [], "rows.parquet is not a readable Parquet file"),
    ],
)
def test_what_ingest_would_refuse_is_refused(kep, tmp_path, capsys, name, data, arguments, sentence):
    (tmp_path / name).write_bytes(data)
    before = sorted(tmp_path.iterdir())
    assert kep(name, *arguments) == 2
    out, err = capsys.readouterr()
    assert sentence in " ".join(err.split())
    assert len(err.splitlines()) == 1
    assert out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_a_set_of_scikit_learn_is_looked_at_too(kep, capsys):
    assert kep("sklearn:iri") == 2
    assert 'did you mean "iris"?' in capsys.readouterr().err
    assert kep("sklearn:iris", "--label", "taget") == 2
    assert 'did you mean "target"?' in capsys.readouterr().err


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_any_way(kep, tmp_path, end, delimiter):
    (tmp_path / "rows.csv").write_bytes(CHURN.replace(",", delimiter).replace("\n", end).encode())
    assert kep("rows.csv", "--label", "churned") == 0
    assert inspect(load(tmp_path / "rows.yaml").data, 0, tmp_path).rows == CHURN.count("\n") - 1


@pytest.mark.parametrize(
    ("file", "name"),
    [("champions.csv", "champions-run"), ("Batch.csv", "batch-run"), ("[lab].csv", "lab"), ("what?*.csv", "what")],
)
def test_a_file_of_any_name_gives_a_run_file_that_is_taken(kep, tmp_path, file, name):
    (tmp_path / file).write_text(CHURN)
    (tmp_path / "l.csv").write_text("a,b\n1,2\n")
    assert kep(file, "--label", "churned") == 0
    settings = load(tmp_path / f"{name}.yaml")
    assert settings.name == name
    assert inspect(settings.data, 0, tmp_path).label == "churned"


def test_an_index_is_no_label_that_is_guessed(kep, tmp_path):
    """pandas writes it as the last column, which is where a label often stands."""
    table = pa.table({"a": [1, 2], "b": [3, 4], "__index_level_0__": [5, 6]})
    parquet.write_table(table, tmp_path / "rows.parquet")
    assert kep("rows.parquet") == 0
    assert load(tmp_path / "rows.yaml").data.label == "b"
