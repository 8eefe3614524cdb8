"""Sources of several chunks, and predictions of them without the pipeline engine."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.csv
import pytest

from kep.components.predict.plan import plan
from kep.components.predict.predict import join, predict_slice
from kep.config.data import DataSettings
from kep.config.prediction import PredictSettings
from kep.stats.observed import can_observe, predicted_bins
from tests.helpers.predictions import churn


@pytest.fixture
def many(tmp_path) -> Path:
    """3,000 rows as CSV: three chunks."""
    path = tmp_path / "many.csv"
    pyarrow.csv.write_csv(churn(), path)
    return path


@pytest.fixture
def settings() -> Callable[..., PredictSettings]:
    """Function from a source to settings with shards of one chunk."""

    def of(source: str | Path, *exclude: str, **more) -> PredictSettings:
        data = DataSettings(source=str(source), exclude=list(exclude))
        return PredictSettings(data=data, **{"shard_rows": 1000} | more)

    return of


@pytest.fixture
def predicted(tmp_path) -> Callable[[Path, PredictSettings], Path]:
    """Function that does what the tasks of the pipeline do (components/predict/run.py), one after the other."""

    def of(model: Path, settings: PredictSettings) -> Path:
        from kep.models.ensemble import Ensemble
        from kep.storage.champions import serving

        place = tmp_path / f"{settings.tasks}-tasks"
        for name in ("scratch", "joined"):
            (place / name).mkdir(parents=True)
        ensemble, folders = Ensemble(serving(model)), []
        bins = predicted_bins(ensemble.manifest) if can_observe(ensemble.manifest) else []
        # In no particular order, as an engine may give them.
        for own in reversed(plan(model, settings, place / "scratch")):
            folders.append(place / f"slice-{own.number}")
            folders[-1].mkdir()
            predict_slice(ensemble, bins, own, settings, place / f"work-{own.number}", folders[-1], lambda *_: None)
        join(folders, settings, place / "joined")
        return place / "joined"

    return of
