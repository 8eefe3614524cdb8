"""From the run file to the pipeline's arguments: each section travels as one JSON string."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kep.config.data import DataSettings
from kep.config.fit import CurveSettings, RetrainTask
from kep.config.notify import NotifyTask
from kep.config.run_file import RunFile
from kep.config.search import SearchTask
from kep.core.code import step_closure
from kep.core.errors import UserError
from kep.core.location import Location
from kep.models.registry import travelling
from kep.pipelines.steps import PREDICTION_STEPS, STEPS
from kep.storage import champions as pointers


def arguments(run: RunFile, base: Path, champions: Path | str) -> dict[str, str | int]:
    """Arguments that follow from the run file alone, without looking at the data.

    Args:
        run: The run file.
        base: Its folder, which relative paths in it start from.
        champions: Folder of champions, local or on gs://, used when the run file names none.

    Raises:
        UserError: A family does not exist, or `promote.champion` is no folder.
    """
    named = run.promote.champion or ""
    if named and not Location(named).is_cloud and (base / named).exists() and not (base / named).is_dir():
        raise UserError(f'promote.champion: "{named}" is no folder; give one that may hold the champion\'s versions')
    # A user's own source is in `families`; where the file lies does not change the search.
    search = SearchTask(**run.search.model_dump(by_alias=True) | {"families": "auto"}, time=run.time)
    # Who is told is none of evaluate's business, whose report and cache key hold the rest of the run file.
    asked = json.dumps(run.model_dump(mode="json", exclude={"notify"}), sort_keys=True)
    promote = run.promote.model_copy(update={"metric": run.judged_by})
    limits = run.best_epoch
    curve = CurveSettings(max_epochs=limits.max_epochs, patience=limits.patience, bootstrap=run.evaluate.bootstrap)
    retrain = RetrainTask(**run.retrain.model_dump(), curve=curve if run.evaluate.learning_curve else None)
    return {
        "asked": kfp_safe(asked),
        "seed": run.seed,
        "data": kfp_safe(located(run.data, base).to_json()),
        "families": kfp_safe(json.dumps(travelling(run.search.families, base), sort_keys=True)),
        "search_config": kfp_safe(search.to_json()),
        "best_epoch_config": kfp_safe(run.best_epoch_task.to_json()),
        "batch_size": run.search.asked_batch,
        "ensemble": kfp_safe(run.ensemble.to_json()),
        "retrain_config": kfp_safe(retrain.to_json()),
        "evaluate_config": kfp_safe(run.evaluate.to_json()),
        "promote_config": kfp_safe(promote.to_json()),
        "tune_hardware": kfp_safe(run.hardware.tune.to_json()),
        "best_epoch_hardware": kfp_safe(run.hardware.best_epoch.to_json()),
        "retrain_hardware": kfp_safe(run.hardware.retrain.to_json()),
        "champion": kfp_safe(pointers.Champion(folder=champions_folder(run, base, champions)).to_json()),
        "notify_config": notify_config(run),
    }


def champions_folder(run: RunFile, base: Path, champions: Path | str) -> str:
    """Return the folder of a run file's champions; arguments as of `arguments`."""
    named = run.promote.champion
    if not named:
        return f"{champions}/{run.name}"
    return named if Location(named).is_cloud else str(base / named)


def notify_config(settings: RunFile, **more: str) -> str:
    """Return the JSON of what a task needs to tell; empty where nobody is told of runs.

    Args:
        settings: The run file.
        **more: Further fields of `NotifyTask`.
    """
    if not settings.notify.of_runs:
        return ""
    fields: dict[str, Any] = settings.notify.model_dump() | more
    return kfp_safe(NotifyTask(name=settings.name, **fields).to_json())


def with_champion(given: dict[str, Any]) -> dict[str, Any]:
    """`given` arguments with the version that the champion's pointer names at this moment."""
    pointer = pointers.read(pointers.Champion.of_parameter(given["champion"]).folder)
    champion = pointers.Champion(folder=pointer.folder, version=pointer.version)
    return given | {"champion": kfp_safe(champion.to_json())}


def located(data: DataSettings, base: Path) -> DataSettings:
    """`data` with local paths made absolute: steps do not run in the run file's folder."""
    if data.files is not None:
        files = {role: Location(text).absolute(base).text for role, text in data.files.model_dump().items()}
        return data.model_copy(update={"files": type(data.files)(**files)})
    return data.model_copy(update={"source": data.location.absolute(base).text})


def kfp_safe(text: str) -> str:
    """JSON text with the two sequences escaped that kfp.local replaces inside parameter values."""
    return text.replace("python3", "python\\u0033").replace("{{$", "{{\\u0024")


def check_path(path: Path, option: str = "--runs", instead: str = "choose another folder") -> None:
    """Refuses a folder whose path kfp.local would alter.

    Args:
        path: Absolute.
        option: Option that gave it.
        instead: Alternative for the user.

    Raises:
        UserError: `python3` is part of the path.
    """
    if "python3" in str(path):
        raise UserError(f'{option}: kfp.local replaces "python3" in paths, and {path} holds it; {instead}')


def codes(steps: Iterable[str]) -> dict[str, str]:
    """Return the parameter of each step that holds the hash of its code, which is part of its cache key."""
    return {f"{step}_code": step_closure(step).hash() for step in steps}


def whole_code(given: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits for the code of all steps together, from a pipeline's parameters."""
    found = sorted((name, value) for name, value in given.items() if name.endswith("_code") and value)
    return hashlib.sha256(repr(found).encode()).hexdigest()[:16] if found else ""


def versions(steps: Iterable[str]) -> dict[str, str]:
    """Return the versions of the libraries that the code of the steps imports, by distribution."""
    return {name: version for step in steps for name, version in step_closure(step).versions().items()}


def source_hash() -> str:
    """Return a hash of the source of all steps, without the versions of libraries: equal for an image of this code."""
    sources = [step_closure(step).source() for step in (*STEPS, *PREDICTION_STEPS)]
    return hashlib.sha256(repr(sources).encode()).hexdigest()[:16]
