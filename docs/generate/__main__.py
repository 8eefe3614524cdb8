"""Write docs/reference from the code: `make reference`. A test says when a page is not current."""

from docs.generate import commands, facts, python, records, run_file

FOLDER = run_file.FOLDER
INDEX = """\
# Reference

These pages are generated from the code by `make reference`.

```{toctree}
"""


def pages() -> dict[str, str]:
    """Return the content of each page by the name of its file."""
    written = [*run_file.pages(), *commands.pages(), *records.pages(), *facts.pages(), ("python.md", python.page())]
    made = {name: "\n".join(lines).rstrip("\n") + "\n" for name, lines in written}
    listed = "\n".join(name.removesuffix(".md") for name in made)
    return {"index.md": f"{INDEX}{listed}\n```\n"} | made


def main() -> None:
    """Write every page, and remove those that no code stands behind."""
    made = pages()
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
