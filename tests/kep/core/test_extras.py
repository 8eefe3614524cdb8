"""What a package that is not installed is needed for is said in one sentence, with what to install."""

import sys

import pytest

from kep.cli.main import main
from kep.engines.local.runner import ENTERED


@pytest.mark.parametrize(
    ("module", "arguments", "expected"),
    [
        ("tensorflow", ["run", "rows.yaml"], 'kep run needs the package tensorflow, which is not here: pip install "'),
        ("tensorflow", ["space", "rows.yaml"], "this command needs the package tensorflow"),
        ("tensorflow", ["predict", "rows.csv", "--model", "rows"], "this command needs the package tensorflow"),
        ("tensorflow", ["export", "rows"], "this command needs the package tensorflow"),
        ("tensorflow", ["serve", "rows"], "this command needs the package tensorflow"),
        ("fastapi", ["serve", "rows"], "kep serve needs the package fastapi"),
        (
            "ai_edge_litert",
            ["export", "rows", "--format", "tflite"],
            "--format tflite needs the package ai_edge_",
        ),
        ("docker", ["run", "rows.yaml", "--runner", "docker"], "--runner docker needs the package docker"),
    ],
)
def test_a_package_that_is_missing_is_named(module, arguments, expected, monkeypatch, capsys, tmp_path):
    (tmp_path / "rows.csv").write_text("x,y\n" + "".join(f"{row},{'ab'[row % 2]}\n" for row in range(40)))
    (tmp_path / "rows.yaml").write_text("name: rows\ndata: {source: rows.csv, label: y}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENTERED, raising=False)
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    monkeypatch.setattr(sys, "argv", ["kep", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
