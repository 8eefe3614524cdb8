"""From stored predictions to the evaluated ensemble: weights stay with their member, whatever the order of folders."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kep.artifacts.evaluation import Comparison, Evaluation
from kep.artifacts.step import StepRecord
from kep.artifacts.trials import TrialStore
from kep.artifacts.verdict import Verdict
from kep.artifacts.weights import Member, Weights
from kep.components.best_epoch.best_epoch import run as best_epoch
from kep.components.evaluate.evaluate import Inputs, baseline, without
from kep.components.evaluate.evaluate import run as evaluate
from kep.components.promote.promote import run as promote
from kep.components.retrain.retrain import run as retrain
from kep.components.weigh.weigh import run as weigh
from kep.data.records import Records
from kep.models.ensemble import Ensemble
from kep.stats.metrics import Truth, loss
from kep.stats.observed import travelling
from kep.stats.pooling import pool
from tests.helpers.artifacts import candidate, member, run_record
from tests.helpers.files import edited
from tests.helpers.records import sealed
from tests.helpers.trials import recorded, study

# Three that differ much, so that a weight at the wrong member shows.
VALUES = {
    "boosted_trees-000": {"learning_rate": 0.3, "num_leaves": 4, "feature_fraction": 0.3, "bagging_fraction": 0.5},
    "boosted_trees-001": {"learning_rate": 0.02, "num_leaves": 64, "feature_fraction": 1.0, "bagging_fraction": 1.0},
    "boosted_trees-002": {"learning_rate": 0.1, "num_leaves": 8, "feature_fraction": 0.5, "bagging_fraction": 0.8},
}
FAMILIES = '[{"name": "boosted_trees"}]'


@pytest.fixture(scope="module")
def results(records, tmp_path_factory) -> list[str]:
    """Folders that best_epoch wrote."""
    root, folders = tmp_path_factory.mktemp("candidates"), []
    for id, values in VALUES.items():
        best_epoch(
            out=str(root / id),
            candidate=candidate(id, values=values, unit="round").to_json(),
            records=str(records("cancer")),
            families=FAMILIES,
            config='{"max_epochs": 3, "patience": 1, "seeds": 2}',
            batch_size=32,
            hardware="{}",
            seed=0,
            code="c",
        )
        folders.append(str(root / id))
    return folders


def sign(folder: Path, step: str) -> None:
    """Write the record of a step that was not run."""
    record = {"label": "", "started": 0, "seconds": 1, "peak_memory_mb": 1, "cores": 1, "seed": 0}
    StepRecord(step=step, **record, ledger=[], versions={}).save(folder)


def search(folder: Path) -> None:
    """Write the search that found the candidates."""
    sign(folder, "tune")
    trials = [
        recorded(number, "boosted_trees", values, 0, "complete", score=0.3, best=3, unit="round")
        for number, values in enumerate(VALUES.values())
    ]
    for trial in trials:
        TrialStore(folder).save(trial, None)
    study(trials, {"boosted_trees": []}, chosen=range(len(trials))).save(folder)


def finish(
    records: Path, results: list[str], root: Path, order: slice, explained: bool = False, **settings
) -> tuple[Evaluation, Ensemble]:
    """weigh, retrain and evaluate, the folders of each in `order`."""
    search(root / "study")
    config = json.dumps({"method": "exact_bagged"} | settings)
    chosen = weigh(
        out=str(root / "weights"), results=results[order], records=str(records), config=config, retrain="{}", seed=0
    )
    folders = []
    for item in chosen[order]:
        folders.append(str(root / "members" / Member.from_json(item).id))
        retrain(
            out=folders[-1],
            member=item,
            records=str(records),
            weights=str(root / "weights"),
            families=FAMILIES,
            config="{}",
            batch_size=32,
            hardware="{}",
            seed=0,
            code="c",
        )
    own, test = sealed(records, root / "ingest")
    sign(own, "ingest")
    evaluate(
        out=str(root / "evaluation"),
        inputs=Inputs(
            records=own,
            test=test,
            study=root / "study",
            results=[Path(folder) for folder in results[order]],
            weights=root / "weights",
            members=[Path(folder) for folder in folders],
        ),
        ensemble=str(root / "ensemble"),
        config=json.dumps({"bootstrap": 100} | ({} if explained else {"why_seconds": 0, "worst_rows": 0})),
        asked=run_record().run_file.model_dump_json(),
        champion=json.dumps({"folder": str(root / "champions"), "version": None}),
        seed=0,
    )
    return Evaluation.load(root / "evaluation"), Ensemble(root / "ensemble")


@pytest.mark.parametrize("pooling", ["arithmetic", "geometric"])
def test_weights_stay_with_their_member_whatever_the_order_of_folders(records, results, tmp_path, pooling):
    told, made = zip(
        *(
            finish(records("cancer"), results, tmp_path / str(step), slice(None, None, step), True, pooling=pooling)
            for step in (1, -1)
        ),
        strict=True,
    )
    assert told[0].scores == told[1].scores
    assert told[0].without == told[1].without
    assert told[0].why == told[1].why
    assert len(told[0].why.importance.columns) == 30
    # The order that things are told in outlasts the file.
    assert [name for name, _ in told[0].why.worst.loss[0].values] == [
        one.column for one in told[0].why.importance.columns[:8]
    ]
    assert len(told[0].why.dependence.columns) == 6
    assert [one.pooling for one in made] == [pooling] * 2
    weights = Weights.load(tmp_path / "1" / "weights").weights
    assert len(set(weights.values())) > 1
    for one in made:
        assert {m.id: m.weight for m in one.members} == {id: w for id, w in weights.items() if w}
    stored = np.load(tmp_path / "-1" / "evaluation" / "predictions.npz")
    expected = pool([stored[id] for id, w in weights.items() if w], [w for w in weights.values() if w], pooling)
    np.testing.assert_allclose(stored["ensemble"], expected, atol=1e-12)
    # How it predicts the test rows travels with the ensemble, for drift.
    for one in travelling(made[1].manifest, tmp_path / "-1" / "ensemble"):
        np.testing.assert_array_equal(one.count(stored["ensemble"]), one.before)
        assert one.before.sum() == len(stored["labels"])


def test_the_champion_is_the_one_that_the_pointer_names_at_that_moment(records, results, tmp_path):
    """As on a cluster, where whoever submits the run can't look."""

    def run(order: slice) -> tuple[Comparison | None, Verdict]:
        told, _ = finish(records("cancer"), results[order], tmp_path, slice(None))
        champion = json.dumps({"folder": str(tmp_path / "champions"), "version": None})
        places = {"ensemble": str(tmp_path / "ensemble"), "evaluation": str(tmp_path / "evaluation")}
        promote(out=str(tmp_path / "verdict"), config="{}", champion=champion, force=True, **places)
        return told.champion, Verdict.load(tmp_path / "verdict")

    (none, first), (compared, second) = run(slice(0, 1)), run(slice(1, 2))
    assert (none, first.reason) == (None, "it is the first champion")
    assert compared.champion == str(tmp_path / "champions" / "versions" / first.version)
    assert compared.differences["loss"]
    assert compared.scores["loss"].value is not None
    assert "than the champion's" in second.reason


def test_an_evaluation_of_before_there_were_explanations_is_read(records, results, tmp_path):
    finish(records("cancer"), results[:1], tmp_path, slice(None))
    assert Evaluation.load(tmp_path / "evaluation").why is not None
    with edited(tmp_path / "evaluation" / "evaluation.json") as told:
        del told["why"]
    assert Evaluation.load(tmp_path / "evaluation").why is None


@pytest.mark.parametrize("calibration", ["temperature", "isotonic"])
def test_a_calibrated_ensemble_is_evaluated_reloaded_and_reported(records, results, tmp_path, calibration):
    told, own = finish(records("cancer"), results, tmp_path, slice(None), calibration=calibration)
    weights = Weights.load(tmp_path / "weights")
    assert own.calibration == weights.calibration.fitted
    stored = np.load(tmp_path / "evaluation" / "predictions.npz")
    members = [stored[member.id] for member in own.members]
    np.testing.assert_allclose(stored["ensemble"], own.calibration.apply(own.pool(members)), atol=1e-12)
    assert told.reload_difference < 1e-5
    expected = [loss("binary", stored["labels"], one) for one in (stored["ensemble"], own.pool(members))]
    assert told.calibration["loss"].value == pytest.approx(expected[0] - expected[1])
    assert told.pictures.uncalibrated != told.pictures.calibration
    assert told.gap.cross_fitted_loss == weights.calibration.after.loss
    page = (tmp_path / "evaluation" / "report.html").read_text()
    assert f"Calibration: <b>{calibration}" in page
    assert "Calibration changes the log-loss by" in page
    assert "before and after calibration" in page


def test_the_operating_point_is_what_every_decision_goes_by(records, results, tmp_path):
    told, own = finish(
        records("cancer"), results, tmp_path, slice(None), operating_point={"recall": 1.0}, calibration="temperature"
    )
    point = Weights.load(tmp_path / "weights").operating_point
    assert own.manifest.label.threshold == point.threshold != 0.5
    stored = np.load(tmp_path / "evaluation" / "predictions.npz")
    labels, given = stored["labels"], stored["ensemble"][:, 1] >= point.threshold
    assert told.ensemble["accuracy"].value == pytest.approx((given == labels).mean())
    assert told.ensemble["f1"].value == pytest.approx(2 * (given & (labels == 1)).sum() / (given.sum() + labels.sum()))
    assert told.pictures.confusion == [[int(((labels == i) & (given == j)).sum()) for j in (0, 1)] for i in (0, 1)]
    figures = told.decisions.at_point
    assert figures["recall"].value == pytest.approx(given[labels == 1].mean())
    assert figures["precision"].value == pytest.approx((labels[given] == 1).mean())
    assert figures["precision"].low <= figures["precision"].value <= figures["precision"].high
    half = stored["ensemble"].argmax(axis=1)
    assert told.decisions.at_half["recall"].value == pytest.approx(half[labels == 1].mean())
    # The bins of the predicted class, for drift, are of the same decisions.
    (by_class, _) = travelling(own.manifest, tmp_path / "ensemble")
    assert by_class.before.tolist() == [int((given == cls).sum()) for cls in (False, True)]
    np.testing.assert_array_equal(by_class.count(stored["ensemble"]), by_class.before)
    page = (tmp_path / "evaluation" / "report.html").read_text()
    assert f"accuracy at p ≥ {point.threshold:.3f}" in page
    assert "the highest precision with a recall of at least 1" in page
    assert "operating point, p ≥" in page
    assert f" wrong at p ≥ {point.threshold:.3f}" in page


def test_a_champion_decides_at_its_own_operating_point(records, results, tmp_path):
    finish(records("cancer"), results, tmp_path, slice(None), operating_point={"threshold": 0.9})
    places = {"ensemble": str(tmp_path / "ensemble"), "evaluation": str(tmp_path / "evaluation")}
    champion = json.dumps({"folder": str(tmp_path / "champions"), "version": None})
    promote(out=str(tmp_path / "verdict"), config="{}", champion=champion, force=True, **places)
    for folder in ("study", "weights", "members", "ingest", "evaluation", "ensemble", "verdict"):
        shutil.rmtree(tmp_path / folder)
    told, _ = finish(records("cancer"), results, tmp_path, slice(None), operating_point={"threshold": 0.02})
    stored = np.load(tmp_path / "evaluation" / "predictions.npz")
    accuracy = {at: ((stored["ensemble"][:, 1] >= at) == stored["labels"]).mean() for at in (0.9, 0.02)}
    assert accuracy[0.9] != accuracy[0.02]
    assert told.champion.scores["accuracy"].value == pytest.approx(accuracy[0.9])
    assert told.champion.differences["accuracy"].value == pytest.approx(accuracy[0.02] - accuracy[0.9])


def test_an_ensemble_of_before_there_was_calibration_is_uncalibrated(records, results, tmp_path):
    _, own = finish(records("cancer"), results, tmp_path, slice(None), calibration="temperature")
    with edited(tmp_path / "ensemble" / "ensemble.json") as described:
        del described["calibration"]
    old, given = Ensemble(tmp_path / "ensemble"), [np.array([[0.9, 0.1]]) for _ in own.members]
    assert old.calibration is None
    np.testing.assert_allclose(old.combine(given), given[0])
    assert not np.allclose(own.combine(given), given[0])


def test_an_ensemble_without_a_pooling_is_an_arithmetic_one(records, results, tmp_path):
    finish(records("cancer"), results, tmp_path, slice(None), pooling="geometric")
    with edited(tmp_path / "ensemble" / "ensemble.json") as described:
        del described["pooling"]
    old = Ensemble(tmp_path / "ensemble")
    own = [np.full((1, 2), 0.5) for _ in old.members]
    own[0] = np.array([[0.9, 0.1]])
    expected = sum(member.weight * one for member, one in zip(old.members, own, strict=True))
    np.testing.assert_allclose(old.combine(own), expected)


def test_the_geometric_pool_is_the_normalised_average_of_logarithms():
    a, b = np.array([[0.7, 0.2, 0.1]], np.float32), np.array([[0.1, 0.0, 0.9]], np.float32)
    powers = a[0] ** 0.25 * np.maximum(b[0], 1e-7) ** 0.75
    np.testing.assert_allclose(pool([a, b], [0.25, 0.75], "geometric")[0], powers / powers.sum(), rtol=1e-5)
    np.testing.assert_allclose(pool([a, b], [0.25, 0.75], "arithmetic"), 0.25 * a + 0.75 * b, rtol=1e-6)


def test_the_baseline_is_the_entropy_of_the_train_shares_and_the_variance_around_the_train_mean(records):
    data = Records(records("cancer"), "evaluate")
    train, test = Records(records("cancer"), "tune").load("train"), data.load("test")
    shares = np.bincount(train.labels) / len(train)
    expected = -np.log(shares)[test.labels].mean()
    assert loss("binary", test.labels, baseline(data.manifest, len(test))) == pytest.approx(expected)
    data = Records(records("houses"), "evaluate")
    train, test = Records(records("houses"), "tune").load("train"), data.load("test")
    expected = np.square(test.labels - train.labels.mean()).mean()
    assert loss("regression", test.labels, baseline(data.manifest, len(test))) == pytest.approx(expected, rel=1e-4)


class Own:
    """An ensemble of predictions alone."""

    pooling = "arithmetic"

    def __init__(self, **weights: float) -> None:
        self.members = [member(id, weight) for id, weight in weights.items()]

    def combine(self, predictions: list[np.ndarray]) -> np.ndarray:
        return pool(predictions, [one.weight for one in self.members], self.pooling)

    def reweighed(self, weights: dict[str, float]) -> "Own":
        return Own(**weights)


def test_what_a_member_adds_is_the_loss_without_it_the_others_renormalised():
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    predictions = {"a": y + 1, "b": y - 1, "c": y + 3}
    told = without(predictions, Own(a=0.5, b=0.4, c=0.1), Truth("regression", y), 100, seed=0)
    assert told["c"].loss == pytest.approx((5 / 9 - 4 / 9) ** 2)
    assert told["b"].value == pytest.approx((5 / 6 + 3 / 6) ** 2 - (0.5 - 0.4 + 0.3) ** 2)
    assert told["b"].low > 0
    assert without({"a": y}, Own(a=1.0), Truth("regression", y), 100, seed=0) == {}
