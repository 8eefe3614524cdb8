"""Provenance of the predictions that weights are fitted on, and the choice of the method."""

import json
from pathlib import Path

import numpy as np
import pytest

from components.ingest.ingest import ingest
from components.shared.errors import UserError
from components.shared.files import write_json
from components.shared.records import Records
from components.shared.schema import Manifest
from components.shared.settings import DataSettings
from components.weigh.weigh import load_predictions, run, simplest


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
    np.savez(folder / "predictions.npz", predictions=predictions, labels=validation.labels, ids=validation.ids)
    np.save(folder / "train_ids.npy", train.ids)
    described = {"id": id, "family": "mlp", "values": {}, "best": 3, "unit": "epoch", "loss": 0.1}
    fingerprint = data.manifest.roles["validation"].fingerprint
    write_json(
        folder / "best_epoch.json",
        {"candidate": described, "best": 5, "unit": "epoch", "validation_fingerprint": fingerprint},
    )
    return folder


@pytest.fixture
def results(tmp_path, records):
    noises = {"mlp-000": 0.9, "mlp-001": 0.2, "mlp-002": 0.6}
    return [candidate(tmp_path / id, records, id, noise, i) for i, (id, noise) in enumerate(noises.items())]


def weigh(results, records, out, method="exact"):
    config = json.dumps({"method": method})
    return run(
        out=str(out), results=[str(r) for r in results], records=str(records), config=config, retrain="{}", seed=0
    )


def test_weights_are_bound_to_members_whatever_their_order(results, records, tmp_path):
    straight = [json.loads(item) for item in weigh(results, records, tmp_path / "a")]
    shuffled = [json.loads(item) for item in weigh(results[::-1], records, tmp_path / "b")]
    assert straight == shuffled
    assert straight[0]["id"] == "mlp-001"
    assert straight[0]["best"] == 5
    assert sum(member["weight"] for member in straight) == pytest.approx(1)


def test_the_correlation_of_losses_is_numpys(results, records, tmp_path):
    weigh(results, records, tmp_path / "w")
    told = json.loads((tmp_path / "w" / "weights.json").read_text())["correlation"]
    stored = [np.load(result / "predictions.npz") for result in sorted(results)]
    losses = [-np.log(s["predictions"][:, np.arange(len(s["labels"])), s["labels"]]).ravel() for s in stored]
    assert told["ids"] == ["mlp-000", "mlp-001", "mlp-002"]
    np.testing.assert_allclose(told["matrix"], np.corrcoef(losses), atol=1e-9)


def test_few_rows_get_the_plain_average(results, records, tmp_path):
    members = [json.loads(item) for item in weigh(results, records, tmp_path / "w", "auto")]
    assert [member["weight"] for member in members] == pytest.approx([1 / 3] * 3)
    assert "too few" in json.loads((tmp_path / "w" / "weights.json").read_text())["reason"]


def test_a_member_that_saw_a_validation_row_is_refused(results, records, tmp_path):
    saw = np.load(results[1] / "train_ids.npy")
    saw[7] = np.load(results[1] / "predictions.npz")["ids"][3]
    np.save(results[1] / "train_ids.npy", saw)
    with pytest.raises(SystemExit):
        weigh(results, records, tmp_path / "w")
    assert not (tmp_path / "w").exists()
    with pytest.raises(UserError, match=r"mlp-001 was trained on 1 of the .* validation rows"):
        load_predictions(results[1], "mlp-001", Manifest.load(records))


@pytest.mark.parametrize("file", ["predictions.npz", "train_ids.npy"])
def test_predictions_without_provenance_are_refused(results, records, file):
    (results[0] / file).unlink()
    with pytest.raises(UserError, match=f"no {file}"):
        load_predictions(results[0], "mlp-000", Manifest.load(records))


def test_predictions_of_other_records_are_refused(results, tmp_path):
    other = tmp_path / "other"
    ingest(DataSettings(source="sklearn:breast_cancer"), 1, other)
    with pytest.raises(UserError, match="not of the validation rows"):
        load_predictions(results[0], "mlp-000", Manifest.load(other))


def test_the_simplest_method_within_one_standard_error_wins():
    rng = np.random.default_rng(0)
    base = rng.normal(1, 0.1, 1000)
    table = {
        name: {"loss": float(losses.mean()), "losses": losses}
        for name, losses in {
            "uniform": base + 0.2,
            "greedy": base + 0.001 + np.tile([0.1, -0.1], 500),
            "exact_bagged": base + 0.001,
            "exact": base,
            "nelder_mead": base + 0.01,
            "random_search": base + 0.02,
        }.items()
    }
    method, reason = simplest(table, 1000)
    assert method == "greedy"
    assert "one standard error" in reason
