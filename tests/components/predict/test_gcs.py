"""A source on gs://: a task downloads the files of its own rows alone, and predicts what it does of local files."""

import pyarrow.csv

from kep.components.predict.plan import plan
from kep.components.predict.predict import predict_slice
from kep.config.data import DataSettings
from kep.config.prediction import PredictSettings
from kep.models.ensemble import Ensemble
from tests.helpers.paths import DATA


def test_tasks_download_their_own_files(gcs, ensembles, tmp_path):
    folder = ensembles("churn", "mlp", "boosted_trees")
    table = pyarrow.csv.read_csv(DATA / "churn.csv")
    (tmp_path / "new").mkdir()
    for number in range(3):
        path = tmp_path / "new" / f"{number}.csv"
        pyarrow.csv.write_csv(table.slice(number * 200, 200), path)
        gcs.put("data", f"new/{number}.csv", path.read_bytes())
    written = {}
    for source in (str(tmp_path / "new"), "gs://data/new"):
        settings = PredictSettings(data=DataSettings(source=source), tasks=3, shard_rows=200)
        (tmp_path / "scratch").mkdir(exist_ok=True)
        for own in plan(folder, settings, tmp_path / "scratch"):
            place = tmp_path / f"{len(written)}-{own.number}"
            place.mkdir()
            work = tmp_path / "work" / place.name
            predict_slice(Ensemble(folder), [], own, settings, work, place, lambda *_: None)
            downloaded = sorted(path.name for path in (work / "source").rglob("*.csv"))
            assert downloaded == ([f"{own.number}.csv"] if source.startswith("gs://") else [])
            (shard,) = place.glob("*.parquet")
            written[source, own.number] = shard.read_bytes()
    for number in range(3):
        assert written["gs://data/new", number] == written[str(tmp_path / "new"), number]
