"""From the run file to the pipeline's arguments: each section travels as one JSON string."""

import hashlib
import json
from pathlib import Path

import kep
import kep.components
import kep.pipelines
from kep.config.data import DataSettings
from kep.config.fit import BestEpochTask
from kep.config.run_file import RunFile
from kep.core.errors import UserError
from kep.core.versions import version
from kep.models.registry import travelling
from kep.storage import champions as pointers

LIBRARIES = (
    "keras",
    "keras-tuner",
    "lightgbm",
    "numpy",
    "scikit-learn",
    "scipy",
    "tensorflow-cpu",
    "tensorflow",
    "tensorflow-tpu",
)
"""Packages whose version is part of the code hash: results change with them."""


def arguments(run: RunFile, base: Path, champions: Path | str) -> dict[str, str | int]:
    """Arguments that follow from the run file alone, without looking at the data.

    Args:
        run: The run file.
        base: Its folder, which relative paths in it start from.
        champions: Folder of champions, local or on gs://, used when the run file names none.

    Raises:
        UserError: A family does not exist.
    """
    named = run.promote.champion or ""
    folder = named if named.startswith("gs://") else base / named if named else f"{champions}/{run.name}"
    # A user's own source is in `families`; where the file lies does not change the search.
    search = run.search.model_copy(update={"families": "auto"})
    budget = run.ensemble.max_latency_ms is not None
    timed = BestEpochTask(**run.best_epoch.model_dump(), latency_rows=run.ensemble.latency_rows if budget else None)
    return {
        "asked": kfp_safe(run.to_json()),
        "seed": run.seed,
        "data": kfp_safe(located(run.data, base).to_json()),
        "families": kfp_safe(json.dumps(travelling(run.search.families, base), sort_keys=True)),
        "search_config": kfp_safe(search.to_json()),
        "best_epoch_config": kfp_safe(timed.to_json()),
        "batch_size": run.search.batch_size,
        "ensemble": kfp_safe(run.ensemble.to_json()),
        "retrain_config": kfp_safe(run.retrain.to_json()),
        "evaluate_config": kfp_safe(run.evaluate.to_json()),
        "promote_config": kfp_safe(run.promote.to_json()),
        "tune_hardware": kfp_safe(run.hardware.tune.to_json()),
        "best_epoch_hardware": kfp_safe(run.hardware.best_epoch.to_json()),
        "retrain_hardware": kfp_safe(run.hardware.retrain.to_json()),
        "champion": kfp_safe(json.dumps({"folder": str(folder), "version": None})),
    }


def with_champion(given: dict) -> dict:
    """`given` arguments with the version that the champion's pointer names at this moment."""
    pointer = pointers.read(json.loads(given["champion"])["folder"])
    champion = {"folder": pointer.folder, "version": pointer.champion}
    return given | {"champion": kfp_safe(json.dumps(champion))}


def located(data: DataSettings, base: Path) -> DataSettings:
    """`data` with local paths made absolute: steps do not run in the run file's folder."""

    def absolute(source: str) -> str:
        # sklearn:digits, gs://bucket/…
        return source if ":" in source else str((base / Path(source).expanduser()).absolute())

    if data.files is not None:
        files = {role: absolute(source) for role, source in data.files.model_dump().items()}
        return data.model_copy(update={"files": type(data.files)(**files)})
    return data.model_copy(update={"source": absolute(data.source)})


def kfp_safe(text: str) -> str:
    """JSON text with the two sequences escaped that kfp.local replaces inside parameter values."""
    return text.replace("python3", "python\\u0033").replace("{{$", "{{\\u0024")


def check_path(path: Path) -> None:
    """Refuses a folder whose path kfp.local would alter.

    Raises:
        UserError: `python3` is part of the path.
    """
    if "python3" in str(path):
        raise UserError(f'--runs: kfp.local replaces "python3" in paths, and {path} holds it; choose another folder')


def code_hash() -> str:
    """Hash of this package's source and templates, and of the versions of the libraries that results depend on."""
    digest = hashlib.sha256()
    _add_source(digest)
    for name in LIBRARIES:
        digest.update(f"{name} {version(name)}\n".encode())
    return digest.hexdigest()[:16]


def source_hash() -> str:
    """Hash of this package's source and templates alone."""
    digest = hashlib.sha256()
    _add_source(digest)
    return digest.hexdigest()[:16]


def _add_source(digest: "hashlib._Hash") -> None:
    for package in (kep, kep.components, kep.pipelines):
        root = Path(package.__file__).parent
        for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".j2")):
            digest.update(f"{package.__name__}/{path.relative_to(root)}\0".encode())
            digest.update(path.read_bytes())
