"""The site: it builds without a warning, finds dead links, and needs nothing from elsewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

FOREIGN = re.compile(r"""<(?:script|img|link|iframe)[^>]+(?:src|href)=["'](?:https?:)?//""")
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    return subprocess.run([*command, source, out], capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "docs", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= {path.relative_to(site) for path in site.rglob("*.html")}


def test_no_page_has_more_than_400_lines():
    pages = {path.name: path.read_text(encoding="utf-8").count("\n") for path in (ROOT / "docs").rglob("*.md")}
    assert [name for name, lines in pages.items() if lines > 400] == []


def test_a_page_loads_nothing_from_elsewhere(site):
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        assert not FOREIGN.search(text), path
        assert not re.search(r"url\(\s*[\"']?https?:|@import", text), path


def test_the_search_knows_the_words_of_the_pages(site):
    assert "max_tri" in (site / "searchindex.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", ["gone.md", "index.md#gone", "#gone", "gone.png"])
def test_a_dead_link_is_refused(tmp_path, link):
    source = tmp_path / "docs"
    source.mkdir()
    shutil.copy(ROOT / "docs" / "conf.py", source)
    image = "!" if link.endswith("png") else ""
    (source / "index.md").write_text(f"# Page\n\n{image}[somewhere]({link})\n")
    done = build(source, tmp_path / "site")
    assert done.returncode != 0
    assert "gone" in done.stderr


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md"])
def test_a_page_outside_of_the_site_has_no_dead_link(name):
    page = ROOT / name
    for target, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{target}#{anchor}"
