"""best_epoch as the pipeline calls it."""

import json
from pathlib import Path

from kep.artifacts.best_epoch import BestEpoch
from kep.artifacts.study import Candidate
from kep.components.best_epoch.best_epoch import run

CANDIDATE = Candidate(
    id="boosted_trees-004",
    family="boosted_trees",
    values={"learning_rate": 0.2, "num_leaves": 8, "feature_fraction": 0.4, "bagging_fraction": 0.6},
    loss=0.1,
    best=9,
    unit="round",
)


def best_epoch(records: Path, out: Path, seed: int = 0, code: str = "c", **config) -> BestEpoch:
    run(
        out=str(out),
        candidate=CANDIDATE.to_json(),
        records=str(records),
        families='[{"name": "boosted_trees"}]',
        config=json.dumps({"max_epochs": 20, "patience": 1, "seeds": 3} | config),
        batch_size=32,
        hardware="{}",
        seed=seed,
        code=code,
    )
    return BestEpoch.load(out)
