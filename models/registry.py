"""Which families there are: from the name in the run file to a `Family`, a user's own source included."""

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.shared.errors import UserError, nearest
from components.shared.schema import Manifest
from models.family import Family

BUILT_IN = ("mlp", "cnn", "boosted_trees")


def travelling(names: list[str] | str, base: Path) -> list[dict] | str:
    """What the families of a run file are on their way to the steps: a user's own source travels with the run.

    Args:
        names: Names of built-in families, or `path/to/file.py:build` relative to `base`; or "auto", which stays as
            it is until the data are known.
        base: Folder of the run file.

    Returns:
        One dictionary per family with `name`, and `function` and `source` (compressed, base64) for a user's own.

    Raises:
        UserError: A name is neither, a file does not exist, or two families share a name.
    """
    if names == "auto":
        return "auto"
    families = []
    for name in names:
        if name in BUILT_IN:
            families.append({"name": name})
            continue
        file, colon, function = name.rpartition(":")
        if not colon or not file.endswith(".py"):
            raise UserError(
                f'search.families: "{name}" is not one of {", ".join(BUILT_IN)}, nor path/to/file.py:build'
                + nearest(name, BUILT_IN)
            )
        path = base / file
        if not path.is_file():
            raise UserError(f"search.families: no file {file} in {base}")
        source = base64.b64encode(zlib.compress(path.read_bytes(), 9)).decode()
        stem = path.stem if function == "build" else f"{path.stem}_{function}"
        families.append({"name": stem.lower(), "function": function, "source": source})
    twice = {family["name"] for family in families if [f["name"] for f in families].count(family["name"]) > 1}
    if twice:
        raise UserError(f'search.families: two families are called "{min(twice)}"; rename a file or remove one')
    return families


def specs(travelled: str, manifest: Manifest) -> list[dict]:
    """The families of a JSON string made from `travelling`, with "auto" spelled out for the data."""
    families = json.loads(travelled)
    return automatic(manifest.image is not None) if families == "auto" else families


def automatic(images: bool) -> list[dict]:
    """The families that "auto" means."""
    return [{"name": name} for name in (("mlp", "cnn", "boosted_trees") if images else ("mlp", "boosted_trees"))]


def spec_of(name: str, travelled: str, manifest: Manifest) -> dict:
    """The family called `name` among `specs`."""
    return next(spec for spec in specs(travelled, manifest) if spec["name"] == name)


def family(spec: dict, manifest: Manifest) -> Family:
    """The family that `travelling` described, for the data of `manifest`.

    Raises:
        UserError: The user's source does not load, has no such function, or the family does not fit the data.
    """
    # A user's own may have a built-in one's name.
    if spec["name"] == "boosted_trees" and "source" not in spec:
        from models.boosted_trees import BoostedTrees

        return BoostedTrees(manifest)

    from models.keras_family import KerasFamily

    if "source" in spec:
        return KerasFamily(spec["name"], _user_build(spec), manifest)
    if spec["name"] == "mlp":
        from models import mlp

        return KerasFamily("mlp", mlp.build_for(manifest), manifest)

    from models import cnn

    return KerasFamily("cnn", cnn.build_for(manifest), manifest)


def _user_build(spec: dict) -> Callable:
    import keras_tuner

    file, function = f"{spec['name']}.py", spec["function"]
    source = zlib.decompress(base64.b64decode(spec["source"]))
    namespace: dict[str, Any] = {"__name__": spec["name"]}
    try:
        exec(compile(source, file, "exec"), namespace)
    except Exception as error:
        raise UserError(f"search.families: {file} does not load: {type(error).__name__}: {error}") from error
    if function not in namespace:
        defined = [name for name, value in namespace.items() if callable(value)]
        raise UserError(f"search.families: {file} has no function {function}{nearest(function, defined)}")
    build = namespace[function]
    if isinstance(build, type) and issubclass(build, keras_tuner.HyperModel):
        build = build()
    return build.build if isinstance(build, keras_tuner.HyperModel) else build
