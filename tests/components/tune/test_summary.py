"""The search's page where a search is not the ordinary one."""

import re

import pytest

from kep.artifacts.trials import Hyperparameter, Hyperparameters, Trial
from kep.report.search import ReasonView, SearchView, search_view
from tests.helpers.trials import recorded, study

SPACE = [
    Hyperparameter(class_name=kind, config=config)
    for kind, config in (
        ("Int", {"name": "units", "min_value": 16, "max_value": 256, "sampling": "log"}),
        ("Choice", {"name": "activation", "values": ["relu", "$x$ <b>"]}),
        ("Boolean", {"name": "norm"}),
        ("Fixed", {"name": "kind", "value": 1}),
    )
]


def trial(number: int, score: float | None, values: Hyperparameters, family: str = "mlp") -> Trial:
    if score is None:
        return recorded(number, family, values, 0, "infeasible", reason="ValueError: no", seconds=0.5)
    return recorded(number, family, values, 0, "complete", score=score, best=3, seconds=0.5)


def view(trials: list[Trial], direction: str = "min", chosen: tuple[int, ...] = ()) -> SearchView:
    return search_view(study(trials, {"mlp": SPACE, "trees": []}, direction, chosen), trials)


@pytest.mark.parametrize(("direction", "best"), [("min", 0.2), ("max", 0.9)])
def test_the_best_of_a_family_follows_the_objective(direction, best):
    trials = [trial(i, score, {"units": 16}) for i, score in enumerate((0.9, 0.2, 0.5))]
    family = view(trials, direction, chosen=(1,)).families[0]
    assert (family.best, family.median, family.winner, family.candidates) == (best, 0.5, True, 1)


def test_a_search_without_a_complete_trial_is_shown():
    shown = view([trial(i, None, {"units": 16}) for i in range(3)])
    assert shown.reasons == [ReasonView("ValueError: no", 3, "mlp-000")]
    assert shown.parallel == []
    assert "3 infeasible" in shown.progress
    assert not any(family.winner for family in shown.families)


def test_parallel_coordinates_leave_out_what_does_not_vary_and_bear_what_a_trial_lacks():
    trials = [
        trial(0, 0.5, {"units": 16, "activation": "relu", "norm": True, "kind": 1}),
        trial(1, 0.5, {"units": 256, "activation": "$x$ <b>"}),
        trial(2, 0.4, {"units": 64, "activation": "gone", "norm": False}, family="trees"),
    ]
    (drawn,) = view(trials).parallel
    assert drawn.name == "mlp"
    for name in ("units (log)", "activation", "norm", "$x$ &lt;b&gt;"):
        assert name in drawn.chart
    assert "kind" not in drawn.chart


def test_equal_trials_give_equal_charts_with_ids_of_their_own():
    trials = [trial(i, 0.1 * (i + 1), {"units": 16 * (i + 1)}) for i in range(5)]
    first, second = view(trials), view(trials)
    assert first.progress == second.progress
    ids = re.findall(r' id="([^"]*)"', first.progress + first.parallel[0].chart)
    assert len(ids) == len(set(ids))
