"""The final training of one member on train and validation rows, for the number of epochs that a rule gives."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kep.artifacts.member import LearningPoint, Placement, Rule, TrainedMember
from kep.artifacts.weights import Member, Weights
from kep.components.retrain.curve import learning_curve
from kep.config.fit import RetrainTask
from kep.core.files import file_digests
from kep.core.seeds import derive, identity
from kep.data.records import concat
from kep.data.schema import Manifest
from kep.models.family import Settings
from kep.models.placed import placed
from kep.models.registry import Spec, spec_of
from kep.runtime.step import Step, entry


@entry("retrain")
def run(
    step: Step,
    *,
    member: str,
    records: str,
    weights: str,
    families: str,
    config: str,
    batch_size: int,
    hardware: str,
) -> None:
    """Trains one member and writes it with `member.json`.

    Args:
        step: This execution.
        member: JSON of the member that `weigh` chose.
        records: Folder of the records.
        weights: Folder that `weigh` wrote, for the train-only models when retraining is off.
        families: JSON list made by `kep.models.registry.travelling`.
        config: JSON of `RetrainTask`.
        batch_size: Rows of one optimiser step; 0 lets the number of train rows choose.
        hardware: JSON of `TrainingHardware`.
    """
    settings, chosen = RetrainTask.model_validate_json(config), Member.from_json(member)
    step.label = chosen.id
    data = step.open(records)
    spec = spec_of(chosen.family, families, data.manifest)
    if not settings.enabled:
        step.progress("retraining is off: the model that best_epoch trained on the train rows is used as it is")
        Weights.load(weights).check(weights, f"models/{chosen.id}")
        shutil.copytree(Path(weights) / "models" / chosen.id, step.out, dirs_exist_ok=True)
        done = _Done(float(chosen.median_best), "off", derive(step.seed, "best_epoch", chosen.id, 0), ("train",), None)
        _write(step.out, chosen, data.manifest, spec, done)
        return
    rows = concat([data.open("train"), data.open("validation")])
    model_seed = derive(step.seed, "retrain", chosen.id)
    with placed(step, spec, data.manifest, hardware, batch_size) as place:
        share = chosen.trained_rows / len(rows) if place.family.unit == "epoch" else 1.0
        units = length(settings.epochs, chosen.median_best, share)
        if not place.family.looped:
            units = max(1, round(units))
        step.progress(
            f"{units:g} {place.family.unit}s on {len(rows)} rows (best {place.family.unit} {chosen.median_best}, rule "
            f"{settings.epochs})"
        )
        heaviest = settings.curve is not None and Weights.load(weights).members[0].id == chosen.id
        # By all processes of a training together, so before the others than the chief end.
        curve = learning_curve(step, place, chosen, data, settings.curve) if settings.curve and heaviest else []
        key = identity(model_seed, step.code, member, families, config, hardware, batch_size, data.manifest.fingerprint)
        kept = place.checkpoints(step.work(key), key)
        with place.monitor(step, "", kept, units) as monitor:
            # The limits are those of a training that watches validation rows; this one has a length instead.
            limits = Settings(0, 0, place.batch_size, model_seed, schedule_share(chosen))
            model = place.family.refit(chosen.values, rows, units, limits, monitor)
            if not place.chief:
                return
            place.family.save(model, step.out)
        batch = place.batch_size if place.family.looped else None
        placement = Placement(strategy=place.plan.strategy, devices=place.plan.devices, batch_size=batch)
    done = _Done(units, settings.epochs, model_seed, ("train", "validation"), placement)
    _write(step.out, chosen, data.manifest, spec, done, curve)


@dataclass(frozen=True)
class _Done:
    """A finished training; the attributes are those of `TrainedMember`."""

    trained_units: float
    rule: Rule
    seed: int
    roles: Sequence[Literal["train", "validation"]]
    hardware: Placement | None


def _write(
    folder: Path, chosen: Member, manifest: Manifest, spec: Spec, done: _Done, curve: Sequence[LearningPoint] = ()
) -> None:
    """Write `member.json`."""
    TrainedMember(
        **dict(chosen),
        trained_units=done.trained_units,
        rule=done.rule,
        seed=done.seed,
        roles=list(done.roles),
        rows=sum(manifest.roles[role].rows for role in done.roles),
        spec=spec,
        hardware=done.hardware,
        learning_curve=list(curve),
        files=file_digests(folder, leave=(TrainedMember.FILE, "tensorboard")),
    ).save(folder)


def schedule_share(chosen: Member) -> float:
    """Return the share of its schedule after which a member was best: retraining ends at the same one."""
    return 1.0 if chosen.horizon is None else min(1.0, chosen.median_best / chosen.horizon)


def length(rule: str, best: int, train_share: float) -> float:
    """Epochs (or boosting rounds) of the final training.

    Args:
        rule: `book`: 1.2 times the best epoch, rounded down; `same`: the best epoch; `steps`: as many optimiser steps
            as the best epoch took, which are fewer epochs on more rows.
        best: Best epoch on train rows, 1-based.
        train_share: Rows that the best epoch was found on, over train and validation rows; 1 for boosting, whose rounds
            each see all rows.

    Returns:
        At least 1 for `book` and `same`; a fraction of an epoch is possible for `steps`.
    """
    if rule == "book":
        return max(1, int(best * 1.2))
    return best * train_share if rule == "steps" else best
