"""Provenance of the predictions that weights are fitted on, and the choice of the method."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kep.artifacts.best_epoch import BestEpoch
from kep.artifacts.weights import Member, Weights
from kep.components.ingest.ingest import ingest
from kep.components.weigh.weigh import Way, check, choose, compare, load_predictions, run, simplest, stack
from kep.components.weigh.weights import Limits, Problem, fit
from kep.config.data import DataSettings
from kep.config.ensemble import EnsembleSettings
from kep.core.errors import UserError
from kep.core.files import read_json, write_json
from kep.data.records import Records
from kep.data.schema import Manifest
from tests.helpers.artifacts import best_epoch, training, vouch
from tests.helpers.artifacts import candidate as candidates
from tests.helpers.files import edited, flip, truncate


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weigh") / "records"
    ingest(DataSettings(source="sklearn:breast_cancer"), 0, folder)
    return folder


def candidate(folder: Path, records: Path, id: str, noise: float, seed: int) -> Path:
    """What best_epoch would have written for a candidate that is right up to `noise`."""
    data = Records(records, "best_epoch")
    train, validation = data.load("train"), data.load("validation")
    rng = np.random.default_rng(seed)
    right = np.clip(1 - noise * rng.uniform(size=(2, len(validation))), 0.01, 0.99)
    predictions = np.where(validation.labels[None, :, None] == np.arange(2), right[..., None], 1 - right[..., None])
    folder.mkdir(parents=True)
    held = {"labels": validation.labels, "ids": validation.ids, "folds": np.zeros(len(validation), int)}
    np.savez(folder / "predictions.npz", predictions=predictions, **held)
    np.savez(folder / "trained_on.npz", **{"0": train.ids})
    fingerprints = {role: data.manifest.roles[role].fingerprint for role in ("train", "validation")}
    told = {"median_best": 5, "trained_rows": len(train), "fingerprints": fingerprints}
    best_epoch(candidates(id), **told | {"seeds": [training(0), training(1)]}).save(folder)
    vouch(folder)
    return folder


@pytest.fixture
def results(tmp_path, records):
    noises = {"mlp-000": 0.9, "mlp-001": 0.2, "mlp-002": 0.6}
    return [candidate(tmp_path / id, records, id, noise, i) for i, (id, noise) in enumerate(noises.items())]


def weigh(results, records, out, method="exact", **settings):
    config = json.dumps({"method": method} | settings)
    return run(
        out=str(out), results=[str(r) for r in results], records=str(records), config=config, retrain="{}", seed=0
    )


def test_weights_are_bound_to_members_whatever_their_order(results, records, tmp_path):
    straight = [Member.from_json(item) for item in weigh(results, records, tmp_path / "a")]
    shuffled = [Member.from_json(item) for item in weigh(results[::-1], records, tmp_path / "b")]
    assert straight == shuffled
    assert straight[0].id == "mlp-001"
    assert (straight[0].best, straight[0].median_best) == (3, 5)
    assert sum(member.weight for member in straight) == pytest.approx(1)


def test_the_correlation_of_losses_is_numpys(results, records, tmp_path):
    weigh(results, records, tmp_path / "w")
    told = Weights.load(tmp_path / "w").correlation
    stored = [np.load(result / "predictions.npz") for result in sorted(results)]
    losses = [-np.log(s["predictions"][:, np.arange(len(s["labels"])), s["labels"]]).ravel() for s in stored]
    assert told.ids == ["mlp-000", "mlp-001", "mlp-002"]
    np.testing.assert_allclose(told.matrix, np.corrcoef(losses), atol=1e-9)


def weights_of(folder: Path) -> Weights:
    return Weights.load(folder)


def test_few_rows_get_the_plain_average_of_chosen_members(records, tmp_path):
    results = [
        candidate(tmp_path / f"mlp-00{i}", records, f"mlp-00{i}", noise, i) for i, noise in enumerate((0.6, 0.55))
    ]
    members = [Member.from_json(item) for item in weigh(results, records, tmp_path / "w", "auto")]
    told = weights_of(tmp_path / "w")
    assert told.method == "greedy_uniform"
    assert "too few" in told.reason
    assert not told.fitted
    assert [member.weight for member in members] == pytest.approx([1 / len(members)] * len(members))
    assert "mlp-001" in [member.id for member in members]


@pytest.fixture
def many_rows(monkeypatch):
    """Validation rows are not too few."""
    monkeypatch.setattr("kep.components.weigh.weigh.FEW_ROWS", 10)


@pytest.mark.parametrize("pooling", ["arithmetic", "geometric"])
@pytest.mark.parametrize("calibration", ["auto", "off", "temperature", "isotonic"])
def test_how_probabilities_are_calibrated_is_written(results, records, tmp_path, pooling, calibration):
    weigh(results, records, tmp_path / "w", pooling=pooling, calibration=calibration)
    told = weights_of(tmp_path / "w")
    expected = "off" if calibration == "auto" else calibration
    assert told.calibration.method == expected
    assert told.calibration.before.loss == pytest.approx(told.cross_fitted.loss, rel=1e-6)
    if expected == "off":
        assert told.calibration.fitted is None
        assert told.calibrated_losses == (told.validation_loss, told.cross_fitted.loss)
    else:
        assert told.calibration.fitted.method == calibration
        assert told.calibrated_losses == (told.calibration.validation_loss, told.calibration.tried[calibration].loss)


def test_the_operating_point_is_of_calibrated_predictions_of_rows_that_the_weights_have_not_seen(
    results, records, tmp_path
):
    cost = {"false_positive": 1.0, "false_negative": 5.0}
    weigh(results, records, tmp_path / "w", operating_point={"cost": cost}, calibration="temperature")
    weigh(results, records, tmp_path / "plain", operating_point={"cost": cost}, calibration="off")
    told, plain = weights_of(tmp_path / "w"), weights_of(tmp_path / "plain")
    assert (told.operating_point.rule, told.operating_point.costs.false_negative) == ("cost", 5.0)
    assert told.operating_point.rows == told.calibration.rows
    assert told.operating_point.threshold != plain.operating_point.threshold
    assert weights_of(tmp_path / "w").operating_point == told.operating_point


def test_weights_of_before_there_was_calibration_are_read(results, records, tmp_path):
    weigh(results, records, tmp_path / "w")
    with edited(tmp_path / "w" / "weights.json") as told:
        del told["calibration"]
    old = weights_of(tmp_path / "w")
    assert old.calibration is None
    assert old.calibrated_losses == (old.validation_loss, old.cross_fitted.loss)


@pytest.mark.usefixtures("many_rows")
def test_what_is_written_says_how_the_weights_came_about(results, records, tmp_path, capsys):
    weigh(results, records, tmp_path / "w")
    told = weights_of(tmp_path / "w")
    assert told.gap <= 1e-6
    assert (told.metric, told.pooling, told.fitted) == ("loss", "arithmetic", True)
    assert told.chosen in told.methods
    assert "exact, geometric" in told.methods
    assert "standard error" in told.pooling_reason
    assert set(told.without) == {id for id, weight in told.weights.items() if weight}
    # Without the best member the loss is higher.
    assert told.without["mlp-001"].difference > 2 * told.without["mlp-001"].error
    said = capsys.readouterr().out
    assert "(standard error " in said
    assert "±" not in said


@pytest.mark.usefixtures("many_rows")
@pytest.mark.parametrize("metric", ["accuracy", "roc_auc"])
def test_another_metric_gets_bagged_greedy_and_no_certificate(results, records, tmp_path, metric):
    weigh(results, records, tmp_path / "w", "auto", metric=metric)
    told = weights_of(tmp_path / "w")
    assert (told.method, told.metric, told.gap) == ("greedy_bagged", metric, None)
    assert all(0 <= way.score <= 1 for way in told.methods.values())


def test_few_rows_do_not_choose_the_pool(results, records, tmp_path):
    weigh(results, records, tmp_path / "w")
    told = weights_of(tmp_path / "w")
    assert told.pooling == "arithmetic"
    assert "too few" in told.pooling_reason


@pytest.mark.usefixtures("many_rows")
def test_the_geometric_pool_is_used_when_it_is_surely_better(results, records, tmp_path):
    # The logarithmic pool of two members that see independent halves of the evidence is Bayes' rule.
    data = Records(records, "best_epoch").load("validation")
    rng, sign = np.random.default_rng(0), 2 * data.labels - 1
    for result in results[:2]:
        evidence = 0.5 * rng.normal(sign * 2.0, 2.0, (8, len(sign)))
        positive = 1 / (1 + np.exp(-4 * evidence))
        stored = dict(np.load(result / "predictions.npz"))
        stored["predictions"] = np.stack([1 - positive, positive], axis=-1)
        np.savez(result / "predictions.npz", **stored)
        vouch(result, seeds=[training(number) for number in range(8)])
    weigh(results[:2], records, tmp_path / "auto")
    told = weights_of(tmp_path / "auto")
    assert told.pooling == "geometric"
    assert told.chosen == "exact, geometric"
    assert told.methods["exact, geometric"].loss < told.methods["exact"].loss
    weigh(results[:2], records, tmp_path / "set", pooling="arithmetic")
    assert weights_of(tmp_path / "set").pooling == "arithmetic"
    assert weights_of(tmp_path / "set").validation_loss > told.validation_loss


def with_latency(results, latency):
    for result, value in zip(results, latency, strict=True):
        BestEpoch.load(result).model_copy(update={"latency_ms": value}).save(result)


def test_members_keep_to_the_latency_budget(results, records, tmp_path):
    with_latency(results, [1.0, 5.0, 2.0])
    weigh(results, records, tmp_path / "w", max_latency_ms=3.0)
    told = weights_of(tmp_path / "w")
    assert told.weights["mlp-001"] == 0
    assert sum(told.latency_ms[member.id] for member in told.members) <= 3.0


def test_a_budget_that_no_candidate_meets_is_refused(results, records, tmp_path, capsys):
    with_latency(results, [4.0, 5.0, 2.5])
    with pytest.raises(SystemExit) as error:
        weigh(results, records, tmp_path / "w", max_latency_ms=2.0)
    assert error.value.code == 2
    assert "the fastest candidate, mlp-002, takes 2.5 ms for 1 row(s), more than the budget of 2 ms" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("task", "settings", "words"),
    [
        ("multiclass", {"metric": "roc_auc"}, "choose from loss, accuracy, f1"),
        ("binary", {"metric": "acuracy"}, "choose from loss, accuracy, roc_auc"),
        ("regression", {"metric": "accuracy"}, "choose from loss, mae, rmse, r2"),
        ("regression", {"pooling": "geometric"}, "the label is a number"),
        ("regression", {"calibration": "temperature"}, "the label is a number; use off or auto"),
        ("regression", {"calibration": "isotonic"}, "the label is a number; use off or auto"),
        ("multiclass", {"calibration": "isotonic"}, "one class of two, and the label has more"),
        ("multiclass", {"operating_point": {"recall": 0.9}}, "one class of two, and the label has more"),
        ("regression", {"operating_point": {"threshold": 0.9}}, "one class of two, and the label is a number"),
    ],
)
def test_settings_that_do_not_fit_the_label_are_refused(task, settings, words):
    with pytest.raises(UserError, match=words):
        check(EnsembleSettings(**settings), task)


def test_exact_weights_for_another_metric_are_refused():
    with pytest.raises(ValueError, match="use method: greedy_bagged"):
        EnsembleSettings(method="exact", metric="accuracy")


def test_a_metric_that_the_rows_do_not_define_is_refused(records):
    stored = {"ids": np.arange(3), "labels": np.ones(3, int), "predictions": np.full((1, 3, 2), 0.5)}
    settings = EnsembleSettings(metric="roc_auc")
    with pytest.raises(UserError, match=r"^ensemble\.metric: roc_auc is undefined on the validation rows, "):
        stack({"a": stored}, settings, Manifest.load(records))


def test_a_member_that_saw_a_validation_row_is_refused(results, records, tmp_path):
    saw = np.load(results[1] / "trained_on.npz")["0"]
    saw[7] = np.load(results[1] / "predictions.npz")["ids"][3]
    np.savez(results[1] / "trained_on.npz", **{"0": saw})
    vouch(results[1])
    with pytest.raises(SystemExit):
        weigh(results, records, tmp_path / "w")
    assert not (tmp_path / "w").exists()
    with pytest.raises(UserError, match=r"mlp-001 was trained on 1 of the .* rows that it predicts"):
        load_predictions(results[1], "mlp-001", Manifest.load(records))


@pytest.mark.parametrize("file", ["predictions.npz", "trained_on.npz"])
def test_predictions_without_provenance_are_refused(results, records, file):
    (results[0] / file).unlink()
    with pytest.raises(UserError, match=f"no {file}"):
        load_predictions(results[0], "mlp-000", Manifest.load(records))


def _change(name: str, array: str, change: Callable[[np.ndarray], np.ndarray], again: bool) -> Callable[[Path], None]:
    """Change one stored array; `again` says whether best_epoch.json vouches for what it became."""

    def damage(folder: Path) -> None:
        stored = dict(np.load(folder / name))
        stored[array] = change(stored[array])
        np.savez(folder / name, **stored)
        if again:
            vouch(folder)

    return damage


def _unknown(ids: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(ids)) == 3, 12345, ids).astype(np.uint64)


def _edit(folder: Path) -> None:
    write_json(folder / "best_epoch.json", read_json(folder / "best_epoch.json") | {"median_best": 99})


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "flipped labels": (_change("predictions.npz", "labels", lambda a: 1 - a, False), "predictions.npz is damaged"),
    "flipped labels, vouched for": (
        _change("predictions.npz", "labels", lambda a: 1 - a, True),
        "their labels are not those of the validation rows",
    ),
    "unknown ids": (_change("predictions.npz", "ids", _unknown, False), "predictions.npz is damaged"),
    "unknown ids, vouched for": (_change("predictions.npz", "ids", _unknown, True), "the predictions of mlp-00"),
    "a flipped bit": (lambda folder: flip(folder / "predictions.npz"), "predictions.npz is damaged"),
    "torn": (lambda folder: truncate(folder / "predictions.npz"), "predictions.npz is damaged"),
    "NaN": (_change("predictions.npz", "predictions", lambda a: a * np.nan, True), "some are not finite numbers"),
    "no probabilities": (_change("predictions.npz", "predictions", lambda a: a * 1.1, True), "don't sum to 1"),
    "fewer seeds": (_change("predictions.npz", "predictions", lambda a: a[:1], True), "they have shape [1, "),
    "trained on nothing": (_change("trained_on.npz", "0", lambda a: a[:0], True), "names no row that mlp-001 was"),
    "a flipped bit of the train ids": (lambda folder: flip(folder / "trained_on.npz"), "trained_on.npz is damaged"),
    "an edited result": (_edit, "best_epoch.json was changed after kep wrote it"),
    "a torn result": (lambda folder: truncate(folder / "best_epoch.json"), "best_epoch.json does not hold"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_predictions_are_one_sentence(results, records, tmp_path, capsys, kind):
    damage, words = DAMAGE[kind]
    damage(results[1])
    with pytest.raises(SystemExit) as ended:
        weigh(results, records, tmp_path / "w")
    assert ended.value.code == 2
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error: ")]
    assert words in said
    assert not (tmp_path / "w").exists()


def test_a_candidate_given_twice_is_refused(results, records, tmp_path, capsys):
    with pytest.raises(SystemExit):
        weigh([*results, results[0]], records, tmp_path / "w")
    assert "mlp-000 is given more than once" in capsys.readouterr().out


def test_predictions_of_other_records_are_refused(results, tmp_path):
    other = tmp_path / "other"
    ingest(DataSettings(source="sklearn:breast_cancer"), 1, other)
    with pytest.raises(UserError, match="not of the rows of these records"):
        load_predictions(results[0], "mlp-000", Manifest.load(other))


def test_the_simplest_method_within_one_standard_error_wins():
    rng = np.random.default_rng(0)
    base = rng.normal(1, 0.1, 1000)
    table = {
        name: Way(losses)
        for name, losses in {
            "uniform": base + 0.2,
            "greedy_uniform": base + 0.1,
            "greedy_bagged": base + 0.1,
            "greedy": base + 0.001 + np.tile([0.1, -0.1], 500),
            "exact_bagged": base + 0.001,
            "exact": base,
            "nelder_mead": base - 0.01,
            "random_search": base + 0.02,
        }.items()
    }
    method, reason = simplest(table)
    assert method == "greedy"
    assert "one standard error" in reason


def few_rows(good: float, others: float, rows: int = 60) -> Problem:
    """One candidate and three others that give their rows' own class about so much probability."""
    rng = np.random.default_rng(0)
    given = np.stack([np.clip(rng.normal(p, 0.05, rows), 0.01, 0.999) for p in (good, others, others, others)], axis=-1)
    return Problem(given[None])


@pytest.mark.parametrize(
    ("good", "others", "limits", "method"),
    [
        # A candidate that is far ahead serves alone, where three of them would be forced together.
        (0.95, 0.5, Limits(8), "best_single"),
        (0.8, 0.8, Limits(8), "greedy_uniform"),
        # Within a budget that it does not fit, it is not the best single candidate.
        (0.95, 0.5, Limits(8, np.array([9.0, 1.0, 1.0, 1.0]), 4.0), "greedy_uniform"),
    ],
)
def test_auto_never_takes_an_ensemble_that_is_clearly_worse_than_its_best_candidate(good, others, limits, method):
    problem, settings = few_rows(good, others), EnsembleSettings()
    table = compare(problem, settings, limits, 0)
    chosen, reason = choose(table, settings, problem.rows)
    assert chosen == method
    weights = fit(chosen, problem, limits, 0)
    assert limits.allow(weights > 0)
    if method == "best_single":
        assert weights.tolist() == [1, 0, 0, 0]
        assert "the cross-fitted loss of greedy_uniform is clearly above that of the best candidate alone" in reason


def test_the_best_candidate_alone_can_be_asked_for(results, records, tmp_path):
    (only,) = [Member.from_json(item) for item in weigh(results, records, tmp_path / "w", "best_single")]
    assert (only.id, only.weight) == ("mlp-001", 1.0)
    assert not weights_of(tmp_path / "w").fitted


def test_weights_of_before_the_best_candidate_was_a_method_are_read(results, records, tmp_path):
    weigh(results, records, tmp_path / "w")
    told = weights_of(tmp_path / "w").model_dump(mode="json")
    told["methods"]["best single"] = told["methods"].pop("best_single")
    assert "best_single" in Weights.from_json(json.dumps(told)).methods
