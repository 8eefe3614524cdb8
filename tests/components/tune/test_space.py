"""What a space holds: conditions followed, continuous ones told apart."""

import keras_tuner

from kep.components.tune.space import configurations, size, untried


def conditional() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["a", "b"])
    with hp.conditional_scope("kind", ["a"]):
        hp.Int("units", 16, 48, step=16)
    with hp.conditional_scope("kind", ["b"]):
        hp.Int("units", 1, 2)
    hp.Boolean("norm")
    hp.Fixed("depth", 3)
    return hp


def test_a_configuration_holds_what_its_branch_holds():
    found = list(configurations(conditional()))
    assert len(found) == size(conditional()) == (3 + 2) * 2
    assert {(values["kind"], values["units"]) for values in found} == {
        ("a", 16),
        ("a", 32),
        ("a", 48),
        ("b", 1),
        ("b", 2),
    }
    assert {values["depth"] for values in found} == {3}


def test_a_continuous_space_has_no_size():
    hp = conditional()
    hp.Float("rate", 1e-3, 1e-1, sampling="log")
    assert size(hp) is None
    assert untried(hp, []) is None


def test_a_space_that_is_too_large_to_count_has_no_size():
    hp = keras_tuner.HyperParameters()
    hp.Int("a", 1, 100)
    hp.Int("b", 1, 100)
    assert size(hp) == 10_000
    assert size(hp, most=9_999) is None


def test_what_was_tried_is_left_out():
    tried = list(configurations(conditional()))[:7]
    assert untried(conditional(), tried) == list(configurations(conditional()))[7:]
