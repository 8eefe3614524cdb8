"""The learning curve: what more train rows would bring, of the heaviest member's configuration."""

import numpy as np

from kep.artifacts.interval import Interval
from kep.artifacts.member import LearningPoint
from kep.artifacts.weights import Member
from kep.config.fit import CURVE_SHARES, CurveSettings
from kep.core.seeds import derive
from kep.data.records import Records
from kep.models.family import Settings
from kep.models.placed import Placed
from kep.runtime.step import Step
from kep.stats.bootstrap import Bootstrap
from kep.stats.metrics import Truth

FEWEST = 20
"""Train rows below which a share is left out."""


def learning_curve(
    step: Step, place: Placed, chosen: Member, data: Records, asked: CurveSettings
) -> list[LearningPoint]:
    """Train on growing shares of the train rows, and score each on the validation rows (never on test rows).

    Each training stops as in best_epoch, where the validation loss is lowest, so that its values flatter a little, all
    of them in the same way.

    Args:
        step: This execution.
        place: The member's family on its devices.
        chosen: The member.
        data: The records.
        asked: Limits of a training, and resamples behind an interval.
    """
    train, validation = data.open("train"), data.open("validation")
    seed = derive(step.seed, "learning curve", chosen.id)
    order = np.random.default_rng(seed).permutation(len(train))
    truth = Truth(data.manifest.label.task, np.asarray(validation.labels), validation.weights)
    points = []
    for share in CURVE_SHARES:
        rows = order[: round(share * len(train))]
        if len(rows) < FEWEST:
            continue
        limits = Settings(asked.max_epochs, asked.patience, place.batch_size, seed)
        name = f"learning curve, {len(rows)} rows"
        with place.monitor(step, f"{name}: ", None, None) as monitor:
            fit = place.family.fit(chosen.values, train.take(np.sort(rows)), validation, limits, monitor)
        if fit.problem is not None:
            step.progress(f"{name}: left out: {fit.problem}")
            continue
        found = Bootstrap.of(truth, fit.predictions, asked.bootstrap, seed, ["loss"]).intervals()["loss"]
        points.append(LearningPoint(rows=len(rows), loss=Interval.of(found)))
        step.progress(f"{name}: validation loss {found.value:.4f}")
    return points
