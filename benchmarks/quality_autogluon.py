"""AutoGluon on rows that `benchmarks.quality` wrote; it runs in an environment of its own, without kep.

    python benchmarks/quality_autogluon.py rows.csv SECONDS PRESET losses.npy

Writes the log-loss of each test row, or the squared error of a label that is a number.
"""

import sys
import tempfile

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor


def main(path: str, seconds: str, preset: str, losses: str) -> None:
    rows = pd.read_csv(path)
    test = rows.pop("role") == "test"
    with tempfile.TemporaryDirectory() as folder:
        regression = rows["y"].dtype.kind in "fi"
        metric = "root_mean_squared_error" if regression else "log_loss"
        predictor = TabularPredictor("y", eval_metric=metric, path=folder, verbosity=0)
        predictor.fit(rows[~test], time_limit=float(seconds), presets=preset)
        truth, features = rows.loc[test, "y"], rows[test].drop(columns="y")
        if regression:
            found = np.square(predictor.predict(features).to_numpy(float) - truth.to_numpy(float))
        else:
            chances = predictor.predict_proba(features)
            own = chances.to_numpy()[np.arange(len(truth)), [list(chances.columns).index(one) for one in truth]]
            found = -np.log(np.maximum(own, 1e-7))
    np.save(losses, found)


if __name__ == "__main__":
    main(*sys.argv[1:])
