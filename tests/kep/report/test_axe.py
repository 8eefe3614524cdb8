"""The pages in a browser: axe-core finds no serious violation, whatever the width and the colours."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from kep.artifacts.report import Report
from kep.data.schema import Manifest
from kep.engines.local.index import write_index
from kep.report.comparison import compare
from kep.report.comparison import render as render_comparison
from kep.report.report import render
from tests.helpers.paths import ROOT
from tests.helpers.reports import whole
from tests.helpers.runs import done as run_that_is_done
from tests.kep.report.test_comparison import side

AXE = ROOT / "tests" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
RUN = """
axe.run().then(found => {
  const told = document.createElement("pre");
  told.id = "axe-result";
  told.textContent = JSON.stringify(found.violations.map(
    one => [one.impact, one.id, one.nodes.map(node => node.html.slice(0, 200))]));
  document.body.append(told);
});
"""
GRAVE = ("serious", "critical")


def violations(page: str, folder: Path, *options: str) -> list:
    """Return the impact, the name and the elements of what axe-core finds in a page."""
    file = folder / "page.html"
    scripts = f"<script>{AXE.read_text(encoding='utf-8')}</script><script>{RUN}</script>"
    file.write_text(page.replace("</body>", f"{scripts}</body>"), encoding="utf-8")
    done = subprocess.run(
        [
            *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
            *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=20000", *options),
            *("--dump-dom", file.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(unescape(re.search(r'<pre id="axe-result">(.*?)</pre>', done.stdout, re.DOTALL)[1]))


WIDE, NARROW, DARK = ("--window-size=1280,1000",), ("--window-size=400,800",), ("--force-dark-mode",)


@pytest.fixture
def page(request, records, tmp_path) -> str:
    """A report of invented trainings on a source, a comparison of two, or an index of runs."""
    if request.param == "index":
        for place in range(3):
            run_that_is_done(tmp_path / "runs", f"2026010{place + 1}-000000", 0.5 - place / 20)
        return write_index(tmp_path / "runs").read_text(encoding="utf-8")
    told = whole(Manifest.load(records("churn" if request.param == "compare" else request.param)))
    if request.param == "compare":
        return render_comparison(compare(side("old", told, seed=1), side("new", told, seed=2)))
    return render(Report.from_json(json.dumps(told)))


@pytest.mark.axe
@pytest.mark.parametrize("options", [WIDE, NARROW, DARK], ids=["wide", "narrow", "dark"])
@pytest.mark.parametrize("page", ["cancer", "digits", "houses", "compare", "index"], indirect=True)
def test_a_page_has_no_serious_violation(page, options, tmp_path):
    assert shutil.which("chromium"), "chromium is not installed"
    found = violations(page, tmp_path, *options)
    assert [one for one in found if one[0] in GRAVE] == []
