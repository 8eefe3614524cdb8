"""The index of a folder of runs."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from kep.engines.local.index import INDEX, refresh_index, write_index
from kep.engines.local.job import Outcome
from tests.helpers.commands import TINY, kep, write_run
from tests.helpers.runs import begun, champion, done, event
from tests.kep.report.test_report import Page


def read(runs: Path) -> Page:
    return Page(write_index(runs).read_text(encoding="utf-8"))


def text(page: Page) -> str:
    return " ".join(" ".join(page.text).split())


def test_every_run_is_a_row_with_a_link_whatever_became_of_it(tmp_path):
    done(tmp_path, "20260101-000000", 0.5, reason="it is the first champion")
    done(tmp_path, "20260102-000000", 0.25, promoted=False, reason="it is not surely <b>better</b>")
    begun(tmp_path, "20260103-000000", event("failed", message="disk full"))
    (tmp_path / "demo" / "20260103-000000" / "log.txt").write_text("log")
    begun(tmp_path, "20260104-000000", event("start"), name="other")
    (done(tmp_path, "20260105-000000") / "verdict.json").write_text("{")
    champion(tmp_path, "20260101-000")
    page = read(tmp_path)
    links = [link for link in page.references if not link.startswith("#")]
    assert "demo/20260102-000000/report.html" in links
    assert "demo/20260103-000000/log.txt" in links
    assert all((tmp_path / link).is_file() for link in links)
    said = text(page)
    assert "20260101-000000 is the champion, with loss 0.5 (0.4 to 0.6)" in said
    assert "it is not surely <b>better</b>" in said
    for words in ("tune failed: disk full", "interrupted", "damaged", "1 run; none is done"):
        assert words in said
    assert page.tags.isdisjoint({"script", "link", "img"})


def test_how_often_the_newest_test_rows_were_opened_is_said(tmp_path):
    for place, times in enumerate((1, 2, 3)):
        folder = done(tmp_path, f"2026010{place + 1}-000000")
        made = Path(Outcome.load(folder).artifacts["evaluation"])
        from kep.artifacts.evaluation import Evaluation

        Evaluation.load(made).model_copy(update={"openings": times}).save(made)
    assert "The newest run's test rows have been opened for 3 ensembles." in text(read(tmp_path))


def test_an_index_that_can_not_be_written_is_a_note(tmp_path):
    done(tmp_path, "20260101-000000")
    (tmp_path / INDEX).mkdir()
    (tmp_path / INDEX / "file").write_text("")
    out = StringIO()
    refresh_index(tmp_path, Console(file=out, width=200))
    assert out.getvalue().startswith(f"note: {tmp_path / INDEX} is not written: ")


def test_kep_report_without_a_run_names_the_index(tmp_path, kep):
    code, _, err = kep("report")
    assert (code, "there is no folder runs" in err) == (2, True)
    done(tmp_path / "runs", "20260101-000000")
    code, out, _ = kep("report")
    assert code == 0
    assert Path(out.strip()) == tmp_path / "runs" / INDEX


@pytest.mark.slow
def test_a_run_that_failed_is_in_the_index(tmp_path):
    family = tmp_path / "broken.py"
    family.write_text("import keras\n\ndef build(hp):\n    raise ValueError('no such layer')\n")
    search = TINY["search"] | {"families": ["broken.py:build"]}
    file = write_run(tmp_path, "iris", data={"source": "sklearn:iris"}, search=search)
    ended = kep("run", file, "--runs", tmp_path / "runs")
    assert ended.returncode == 2, ended.stdout
    assert "tune failed: search.families: broken" in text(Page((tmp_path / "runs" / INDEX).read_text()))
