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
from kep.report.report import render
from tests.helpers.paths import ROOT
from tests.helpers.reports import whole

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


@pytest.mark.axe
@pytest.mark.parametrize("source", ["cancer", "digits", "houses", "churn"])
@pytest.mark.parametrize(
    "options",
    [("--window-size=1280,1000",), ("--window-size=400,800",), ("--force-dark-mode", "--window-size=1280,1000")],
    ids=["wide", "narrow", "dark"],
)
def test_a_report_has_no_serious_violation(source, options, records, tmp_path):
    assert shutil.which("chromium"), "chromium is not installed"
    page = render(Report.from_json(json.dumps(whole(Manifest.load(records(source))))))
    found = violations(page, tmp_path, *options)
    assert [one for one in found if one[0] in GRAVE] == []
