"""Typed JSON: equal values give equal bytes, and what does not fit is one sentence with its path."""

from typing import ClassVar

import pytest
from pydantic import Field

from kep.core.errors import UserError
from kep.core.json_model import Figure, JsonFile


class Fruit(JsonFile):
    """An example."""

    FILE: ClassVar[str] = "fruit.json"
    KIND: ClassVar[str] = "a fruit"

    name: str
    weight: float
    scores: dict[str, Figure] = Field(default_factory=dict)


def test_a_value_is_the_same_after_it_was_written(tmp_path):
    fruit = Fruit(name="pear", weight=3, scores={"b": float("nan"), "a": 0.1})
    fruit.save(tmp_path)
    assert Fruit.load(tmp_path) == fruit
    assert (tmp_path / "fruit.json").read_text().endswith('"weight": 3.0\n}\n')
    assert fruit.scores == {"b": None, "a": 0.1}


def test_equal_values_give_equal_bytes():
    one, other = Fruit(name="a", weight=1, scores={"x": 1, "y": 2}), Fruit(weight=1, scores={"y": 2, "x": 1}, name="a")
    assert one.to_json() == other.to_json() == '{"name": "a", "scores": {"x": 1.0, "y": 2.0}, "weight": 1.0}'
    assert Fruit.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "a", "weight": "3"}', "weight: expected a number"),
        ('{"name": "a"}', "weight: is missing"),
        ('{"name": "a", "weight": 1, "colour": "red"}', "colour: is unknown"),
        ('{"name": "a", "weight": 1, "scores": {"x": "1"}}', "scores.x: expected a number"),
        ('{"name": "a", "wei', "it is not JSON"),
        ("[]", "expected an object"),
    ],
)
def test_an_unfit_file_is_one_sentence_with_its_path(tmp_path, text, problem):
    (tmp_path / "fruit.json").write_text(text)
    with pytest.raises(UserError) as error:
        Fruit.load(tmp_path)
    path = tmp_path / "fruit.json"
    assert str(error.value) == f"{path} does not hold a fruit ({problem}); run the step again"


def test_a_missing_file_is_one_sentence_with_its_path(tmp_path):
    with pytest.raises(UserError, match=r"fruit.json can't be read \(No such file or directory\); run the step again"):
        Fruit.load(tmp_path)
