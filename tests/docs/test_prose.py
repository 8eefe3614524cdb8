"""The check of the English: what it finds, what it leaves alone, and that today's prose passes."""

import pytest

from docs import prose
from docs.prose import figures, of_code, of_page, opened, problems

LONG = " ".join(["word"] * 31) + "."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LONG, "31 words"),
        (f"- {LONG}", "31 words"),
        (f"| a |\n| --- |\n| {LONG} |", "31 words"),
        ("A hyper-parameter.", '"hyper-parameter" is spelt "hyperparameter"'),
        ("Two datasets.", '"datasets" is spelt "data set"'),
        ("A tfrecord file.", '"tfrecord" is spelt "TFRecord"'),
        ("On VertexAI.", '"VertexAI" is spelt "Vertex AI"'),
        ("Write a run-file.", '"run-file" is spelt "run file"'),
        (
            "A line that ends\nin mid-sentence.",
            "a line ends in mid-sentence; a paragraph is one line: A line that ends",
        ),
        ("The held out rows.", '"held out" is spelt "held-out"'),
    ],
)
def test_a_problem_of_a_page_is_found_with_its_line(text, found):
    (problem,) = problems(list(of_page("page.md", f"# Page\n\n{text}\n")), [])
    assert found in problem
    assert problem.startswith("page.md:")
    assert not problem.startswith("page.md:1:")


@pytest.mark.parametrize(
    "text",
    [
        f"```\n{LONG} dataset\n```",  # code
        "Read `dataset.tfrecord`.",
        "See .tfrecord and a/dataset.",
        'By Smith 2018, "A disciplined approach to neural network hyper-parameters".',
        "A line.\nAnother line:\n- a list",
        " ".join(["word"] * 30) + ".",
        " ".join(["word"] * 20) + ", e.g. this. " + " ".join(["Word"] * 20) + ".",
        " ".join(["word"] * 20) + ". `code` " + " ".join(["word"] * 20) + ".",
    ],
)
def test_what_is_no_problem_of_a_page(text):
    assert list(problems(list(of_page("page.md", text)), [])) == []


def test_a_listed_exception_may_be_longer():
    texts = list(of_page("page.md", f"Exempt {LONG}"))
    assert len(list(problems(texts, []))) == 1
    assert list(problems(texts, ["Exempt word"])) == []


def test_docstrings_arguments_attributes_and_help_are_read():
    source = (
        f'"""Module."""\n\nWIDTH = 3\n"""Of the page."""\n\n\ndef run(a, b=typer.Option(help="Of the run.")):\n'
        f'    """Run it.\n\n    Args:\n        a: {LONG}\n    """\n'
    )
    texts = list(of_code("a.py", source))
    total, bad = opened(texts)
    assert (total, [text.place for text in bad]) == (4, ["a.py:4", "a.py:7"])
    (long,) = problems(texts, [])
    assert "31 words" in long


def test_figures_count_running_text_alone():
    texts = list(of_page("page.md", f"# Heading\n\nTwo words. And three words.\n\n| cell |\n| --- |\n| {LONG} |\n"))
    assert figures(texts) == (2, 2.5, 0.0)


def test_the_prose_of_today_passes(capsys):
    assert prose.main() == 0, capsys.readouterr().out
