"""Networks of an ensemble predict few rows in one compiled function, as they do one by one."""

import numpy as np
import pytest

from kep.data.records import Records
from kep.models import ensemble as ensembles_of
from kep.models.ensemble import Ensemble


@pytest.fixture
def calls(monkeypatch):
    """How many members were asked one by one."""
    from kep.models.keras_family import KerasFamily

    asked, predict = [], KerasFamily.predict
    monkeypatch.setattr(KerasFamily, "predict", lambda *given: asked.append(given) or predict(*given))
    return asked


@pytest.mark.parametrize(
    ("source", "names", "alone"),
    [
        ("churn", ("mlp", "tabular"), 0),
        ("houses", ("mlp", "tabular"), 0),  # numbers
        ("digits", ("mlp", "cnn"), 0),
        ("churn", ("mlp", "boosted_trees"), 1),  # one network has nobody to be with
    ],
)
def test_few_rows_are_predicted_together(ensembles, records, calls, monkeypatch, source, names, alone):
    ensemble = Ensemble(ensembles(source, *names))
    rows = Records(records(source), "tune").load("train")
    for count in (1, 7, ensembles_of.FEW):
        few = rows.take(np.arange(count))
        calls.clear()
        together = ensemble.predict_members(few)
        assert len(calls) == alone
        with monkeypatch.context() as patch:
            patch.setattr(ensembles_of, "FEW", 0)
            for one, other in zip(together, ensemble.predict_members(few), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_many_rows_and_members_of_a_part_are_predicted_one_by_one(ensembles, records, calls):
    ensemble = Ensemble(ensembles("churn", "mlp", "tabular"))
    rows = Records(records("churn"), "tune").load("train")
    few = rows.take(np.arange(5))
    ensemble.predict_members(rows)
    assert len(calls) == 2
    whole = ensemble.predict_members(few)
    for place, member in enumerate(ensemble.members):
        (own,) = ensemble.reweighed({member.id: 1.0}).predict_members(few)
        np.testing.assert_allclose(own, whole[place], rtol=1e-5, atol=1e-6)
