"""Page of the Python API, from the source: nothing heavy is imported."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import docstring_parser

import kep
from docs.generate.words import one_line, paragraph, table

ROOT = Path(kep.__file__).resolve().parent
CLASSES = {
    "Model": "delivery/model.py",
    "Finished": "engines/local/finished.py",
    "LocalRun": "engines/local/history.py",
    "Comparison": "report/comparison.py",
    "UserError": "core/errors.py",
    "RunError": "core/errors.py",
}
"""Classes that the functions return or raise, and the modules that define them."""


def page() -> list[str]:
    """Return the lines of the page."""
    lines = ["# Python API", "", *(kep.__doc__ or "").strip().split("\n\n")[0].splitlines(), ""]
    lines += ["```python", *_example(), "```", ""]
    functions = _definitions(ROOT / "__init__.py")
    for name in kep.__all__:
        lines += _documented(f"kep.{name}", functions[name], "##")
    for name, file in CLASSES.items():
        lines += _class(name, _definitions(ROOT / file)[name])
    return lines


def _example() -> list[str]:
    text = (kep.__doc__ or "").partition("\n    ")[2].partition("\n\nImporting")[0]
    return dedent(f"    {text}").splitlines()


def _definitions(path: Path) -> dict[str, ast.AST]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def _class(name: str, node: ast.AST) -> Iterator[str]:
    assert isinstance(node, ast.ClassDef)
    yield from (f"## `{name}`", "", *_docstring(ast.get_docstring(node) or ""))
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
            yield from _documented(f"{name}.{inner.name}", inner, "###")


def _documented(name: str, node: ast.AST, level: str) -> list[str]:
    assert isinstance(node, ast.FunctionDef)
    decorators = {ast.unparse(one) for one in node.decorator_list}
    returned = ast.unparse(node.returns).strip("'\"") if node.returns else "None"
    if decorators & {"property", "cached_property"}:
        signature = f"{name}: {returned}"
    else:
        given = [one for one in node.args.args if one.arg != "self"]
        node.args.args = given
        signature = f"def {node.name}({ast.unparse(node.args)}) -> {returned}: ..."
    lines = [f"{level} `{name}`", "", "```python", *_formatted(signature), "```", ""]
    return [*lines, *_docstring(ast.get_docstring(node) or "")]


def _formatted(code: str) -> list[str]:
    """Return the lines of Python as ruff formats it, in pages too."""
    command = [str(Path(sys.executable).with_name("ruff")), "format", "--stdin-filename", "signature.py", "-"]
    return subprocess.run(command, input=code, capture_output=True, check=True, encoding="utf-8").stdout.splitlines()


def _docstring(text: str) -> Iterator[str]:
    """Yield a docstring in Google's style as Markdown."""
    said = docstring_parser.parse(text, style=docstring_parser.DocstringStyle.GOOGLE)
    for part in (said.short_description or "", *(said.long_description or "").split("\n\n")):
        if part:
            yield from paragraph(part)
    names = {"attribute": "attribute"}
    parameters = [one for one in said.params if one.args[0] not in names]
    for title, rows in (
        ("argument", [(f"`{one.arg_name}`", one.description or "") for one in parameters]),
        ("attribute", [(f"`{one.arg_name}`", one.description or "") for one in said.params if one.args[0] in names]),
        ("raised", [(f"`{one.type_name}`", one.description or "") for one in said.raises]),
    ):
        if rows:
            yield from (*table((title, "meaning"), rows), "")
    if said.returns and said.returns.description:
        yield from (f"Returns: {one_line(said.returns.description)}", "")
