"""The final training of one member on train and validation rows, for the number of epochs that a rule gives."""

import json
import shutil
from pathlib import Path
from typing import Any

from kep.config.fit import RetrainSettings
from kep.core.files import write_json
from kep.core.seeds import derive, identity
from kep.data.records import concat
from kep.models.family import Settings
from kep.models.placed import placed
from kep.models.registry import spec_of
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
    seed: int,
    code: str,
) -> None:
    """Trains one member and writes it with `member.json`.

    Args:
        step: Of this execution.
        member: JSON of the member that `weigh` chose.
        records: Folder of the records.
        weights: Folder that `weigh` wrote, for the train-only models when retraining is off.
        families: JSON list made by `kep.models.registry.travelling`.
        config: JSON of `RetrainSettings`.
        batch_size: Rows of one optimiser step.
        hardware: JSON of `TrainingHardware`.
        seed: Of the run.
        code: Hash of the code, part of the identity of partial work.
    """
    settings, chosen = RetrainSettings.model_validate_json(config), json.loads(member)
    step.label = chosen["id"]
    data = step.open(records)
    manifest = data.manifest
    spec = spec_of(chosen["family"], families, manifest)
    model_seed = derive(seed, "best_epoch", chosen["id"], 0)
    roles, units = ["train"], float(chosen["best"])
    placement: dict[str, Any] = {}
    if settings.enabled:
        rows = concat([data.open("train"), data.open("validation")])
        roles = ["train", "validation"]
        share = chosen["trained_rows"] / len(rows)
        model_seed = derive(seed, "retrain", chosen["id"])
        with placed(step, spec, manifest, hardware, batch_size) as place:
            own = place.family
            units = length(settings.epochs, chosen["best"], share if own.unit == "epoch" else 1.0)
            step.progress(
                f"{units:g} {own.unit}s on {len(rows)} rows (best {own.unit} {chosen['best']}, rule {settings.epochs})"
            )
            key = identity(model_seed, code, member, families, config, hardware, batch_size, manifest.fingerprint)
            kept = place.checkpoints(step.work(key), key)
            with place.monitor(step, "", kept, units) as monitor:
                # The limits are those of a training that watches validation rows; this one has a length instead.
                limits = Settings(0, 0, place.batch_size, model_seed)
                model = own.refit(chosen["values"], rows, units, limits, monitor)
                if not place.chief:
                    return
                own.save(model, step.out)
            placement = {"strategy": place.plan.strategy, "devices": place.plan.devices, "batch_size": place.batch_size}
    else:
        step.progress("retraining is off: the model that best_epoch trained on the train rows is used as it is")
        shutil.copytree(Path(weights) / "models" / chosen["id"], step.out, dirs_exist_ok=True)
    write_json(
        step.out / "member.json",
        chosen
        | {
            "trained_units": units,
            "rule": settings.epochs if settings.enabled else "off",
            "seed": model_seed,
            "roles": roles,
            "rows": sum(manifest.roles[role].rows for role in roles),
            "spec": spec,
            "hardware": placement,
        },
    )


def length(rule: str, best: int, train_share: float) -> float:
    """Epochs (or boosting rounds) of the final training.

    Args:
        rule: `book`: 1.2 times the best epoch, rounded down; `same`: the best epoch; `steps`: as many
            optimiser steps as the best epoch took, which on more rows is a smaller number of epochs.
        best: Best epoch on train rows, 1-based.
        train_share: Rows that the best epoch was found on, over train and validation rows; 1 for boosting, whose rounds
            each see all rows.

    Returns:
        At least 1 for `book` and `same`; a fraction of an epoch is possible for `steps`.
    """
    if rule == "book":
        return max(1, int(best * 1.2))
    return best * train_share if rule == "steps" else best
