"""Check the English of pages, docstrings and help texts: `make lint` runs it.

It prints figures and the worst places, and ends with status 1 where a limit is not met.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import docstring_parser
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
LONGEST = 30
"""Words of a sentence."""
MEAN = 16.0
"""Mean words of a sentence over all pages."""
OPENINGS = 0.02
"""Share of docstrings that may open with one of `OPENERS`."""
OPENERS = ("Of", "That", "What", "Which", "Whether")
EXCEPTIONS = Path(__file__).with_name("prose-exceptions.txt")
"""Sentences that may be longer, one beginning a line."""
FOLDERS = ("kep", "components", "pipelines")
"""Folders whose docstrings are checked."""
TERMS = {
    r"hyper-parameters?|hyper parameters?": "hyperparameter",
    r"datasets?|data-sets?": "data set",
    r"tfrecords?|TF ?records?|TF Records?": "TFRecord",
    r"VertexAI|Vertex Ai|vertex ai": "Vertex AI",
    r"runfiles?|run-files?|Runfiles?": "run file",
    r"heldout|held out(?= rows?| folds?| predictions?)": "held-out",
    r"Keras Tuner|Kerastuner|kerastuner": "KerasTuner",
    r"Tensorflow|tensorflow": "TensorFlow",
    r"Tensorboards?": "TensorBoard",
    r"Scikit-learn|Sklearn|scikit learn": "scikit-learn",
    r"bigquery|Bigquery|Big Query": "BigQuery",
    r"kubernetes": "Kubernetes",
    r"Github": "GitHub",
    r"check-points?": "checkpoint",
    r"cross validat\w+": "cross-validate",
}
"""Spellings that are not used, and the one that is."""
_TERMS = {re.compile(rf"(?<![\w./:-])(?:{wrong})(?![\w/:-]|\.\w)"): right for wrong, right in TERMS.items()}
_QUOTED = re.compile(r"""["“][^"”]*["”]""")
"""A title or a message, which keeps its own spelling."""
_END = re.compile(r"""(?<=[.!?])["')\]*]*\s+(?=["'(\[*]*[A-Z0-9`“])|\s\|\s""")
_WHOLE = re.compile(r"""[.!?:]["')\]*`]*\s*$""")
"""A line that ends with a sentence."""
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|et al|vs|cf|approx|No|[A-Z])\.$")
_WORD = re.compile(r"\w[\w'’.,/-]*")


@dataclass(frozen=True)
class Text:
    """A piece of prose.

    Attributes:
        place: File and line.
        text: Its words, with code as the word `Code`.
        running: True for running text, which counts for the mean; false for cells and headings.
        cut: Beginning of the first line that ends in mid-sentence, on a page; empty for none.
        opens: True for the beginning of a docstring.
    """

    place: str
    text: str
    running: bool = True
    opens: bool = False
    cut: str = ""

    @property
    def sentences(self) -> list[str]:
        """Its sentences."""
        found: list[str] = []
        for part in _END.split(self.text.strip()):
            if found and _ABBREVIATION.search(found[-1]):
                found[-1] += f" {part}"
            elif part:
                found.append(part)
        return found


def words(sentence: str) -> int:
    """Return the number of words of a sentence."""
    return len(_WORD.findall(sentence))


def of_page(place: str, text: str) -> Iterator[Text]:
    """Yield the prose of a Markdown page."""
    closed = ""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type.endswith("_open"):
            closed = token.type
        elif token.type == "inline" and token.map:
            running = closed == "paragraph_open"
            lines = token.content.splitlines()
            cut = next((line for line in lines[:-1] if not _WHOLE.search(line)), "") if running else ""
            yield Text(f"{place}:{token.map[0] + 1}", _plain(token.children or []), running, cut=cut)


def _plain(tokens: Iterable[Token]) -> str:
    parts = {"code_inline": "Code", "softbreak": " ", "hardbreak": " ", "image": ""}
    return "".join(parts.get(token.type, token.content) for token in tokens)


def of_code(place: str, text: str) -> Iterator[Text]:
    """Yield the prose of the docstrings and help texts of a Python file."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in node.body:
                value = (
                    inner.value.value if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant) else None
                )
                if isinstance(value, str):
                    yield from _docstring(f"{place}:{inner.lineno}", value)
        elif isinstance(node, ast.keyword) and node.arg == "help" and isinstance(node.value, ast.Constant):
            yield Text(f"{place}:{node.value.lineno}", _code(str(node.value.value)), opens=True)


def _docstring(place: str, text: str) -> Iterator[Text]:
    said = docstring_parser.parse(text, style=docstring_parser.DocstringStyle.GOOGLE)
    yield Text(place, _code(said.short_description or ""), opens=True)
    parts = [said.long_description or "", *(one.description or "" for one in said.meta)]
    for part in parts:
        for paragraph in re.split(r"\n\s*\n|\n(?=\s*[-*|] )", part):
            if not paragraph.startswith("    ") and not paragraph.lstrip().startswith(("|", "```")):
                yield Text(place, _code(paragraph))


def _code(text: str) -> str:
    return re.sub(r"``?[^`]+``?", "Code", " ".join(text.split()))


def pages() -> Iterator[Text]:
    """Yield the prose of every page that is checked."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    for path in sorted(files):
        name = str(path.relative_to(ROOT))
        text = path.read_text(encoding="utf-8")
        if name == "CHANGELOG.md":  # older entries stay as they are
            text = "## ".join(text.split("\n## ")[:2])
        yield from of_page(name, text)


def code() -> Iterator[Text]:
    """Yield the prose of the code."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.resolve() == path.absolute() or folder != "kep":  # kep/components is a link to components
                yield from of_code(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))


def problems(texts: list[Text], exceptions: list[str]) -> Iterator[str]:
    """Yield what is wrong in single places: sentences that are too long, lines cut in mid-sentence, spellings."""
    for text in texts:
        if text.cut:
            yield f"{text.place}: a line ends in mid-sentence; a paragraph is one line: {text.cut[:80]}"
        for sentence in text.sentences:
            count = words(sentence)
            if count > LONGEST and not any(sentence.startswith(one) for one in exceptions):
                yield f"{text.place}: {count} words: {sentence[:100]}…"
        for wrong, right in _TERMS.items():
            if found := wrong.search(_QUOTED.sub("", text.text)):
                yield f'{text.place}: "{found[0]}" is spelt "{right}"'


def figures(texts: list[Text]) -> tuple[int, float, float]:
    """Return the number of sentences of running text, their mean words, and the share beyond `LONGEST`."""
    counts = [words(sentence) for text in texts if text.running for sentence in text.sentences]
    return len(counts), fmean(counts or [0]), sum(count > LONGEST for count in counts) / max(len(counts), 1)


def opened(texts: list[Text]) -> tuple[int, list[Text]]:
    """Return the number of docstrings and help texts, and those that open with one of `OPENERS`."""
    beginnings = [text for text in texts if text.opens and text.text]
    return len(beginnings), [text for text in beginnings if text.text.split()[0].rstrip(",;:") in OPENERS]


def main() -> int:
    """Print the figures and the problems; return the exit status."""
    exceptions = [line for line in EXCEPTIONS.read_text(encoding="utf-8").splitlines() if line]
    wrong: list[str] = []
    for name, texts in (("pages", list(pages())), ("docstrings and help", list(code()))):
        count, mean, share = figures(texts)
        print(f"{name}: {count} sentences, {mean:.1f} words on average, {share:.1%} over {LONGEST} words")
        wrong += problems(texts, exceptions)
        if name == "pages" and mean >= MEAN:
            wrong.append(f"pages: {mean:.1f} words a sentence on average; the goal is below {MEAN:g}")
        total, bad = opened(texts)
        if total:
            print(f"{name}: {len(bad)} of {total} open with {', '.join(OPENERS)} ({len(bad) / total:.1%})")
        if len(bad) > OPENINGS * total:
            wrong += [f"{text.place}: opens with {text.text.split()[0]}: {text.text[:80]}" for text in bad]
    for line in wrong:
        print(line)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
