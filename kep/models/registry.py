"""Registry of the families: from the name in the run file to a `Family`, a user's own source included."""

import ast
import json
import linecache
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from kep.config.hardware import TrialHardware
from kep.config.search import FamilyEntry, OwnFamily
from kep.core.errors import UserError, nearest
from kep.data.schema import Manifest
from kep.models.carried import install, modules_of, packed, parsed, unpacked
from kep.models.family import Build, Family, reason
from kep.models.features import PARAMETER, Features, asks, told
from kep.models.needs import check_arguments, check_packages, packages_of

PREMADE = ("hyperresnet", "hyperxception", "hyperefficientnet")
"""KerasTuner's own spaces (kep/models/premade.py)."""
TRAINED = "hyperefficientnet:imagenet"
"""The one of them whose weights can be asked for."""
_IMPORT = ast.Import | ast.ImportFrom
TREES = ("boosted_trees", "extra_trees")
"""Families that need no TensorFlow, and no accelerator."""
BUILT_IN = ("mlp", "tabular", "realmlp", "tabm", "cnn", *TREES, *PREMADE)
TABLES = ("tabular", "realmlp", "tabm")
"""Networks for tables alone."""
Spec = dict[str, Any]
"""A family on its way to the steps, as `travelling` describes it."""


def travelling(entries: list[FamilyEntry] | str, base: Path) -> list[Spec] | Literal["auto"]:
    """Return the families of a run file in the form that travels to the steps, with a user's own source.

    Args:
        entries: Names of built-in families, `TRAINED`, or `path/to/file.py:build` relative to `base`, also with what
            it needs; or "auto", which stays as it is until the data are known.
        base: Folder of the run file.

    Returns:
        One dictionary per family with its `name`, and `weights` where they were requested. A user's own has `file` (its
        name), `function` and `source` (compressed, base64). It has `modules` where it imports some from its folder, and
        `packages` and `arguments` where the run file gives some.

    Raises:
        UserError: A name is neither, a file does not exist, a requirement is none, or two families share a name or the
            name of a module.
    """
    if isinstance(entries, str):
        return "auto"
    families: list[Spec] = []
    for entry in entries:
        name = name_of(entry)
        if not isinstance(entry, str) and not name.partition(":")[0].endswith(".py"):
            raise UserError(
                f'search.families: "{name}" is no file of your own, which packages and arguments are for; expected '
                "{file: path/to/file.py:build, …}"
            )
        if name in BUILT_IN:
            families.append({"name": name})
            continue
        file, colon, function = name.rpartition(":")
        if name == TRAINED:
            families.append({"name": file, "weights": function})
            continue
        if file in BUILT_IN:
            raise UserError(
                f'search.families: "{name}" can\'t be had; weights can be asked for with {TRAINED}, no other'
            )
        if not colon or not file.endswith(".py"):
            raise UserError(
                f'search.families: "{name}" is not one of {", ".join(BUILT_IN)}, nor path/to/file.py:build'
                + nearest(name, [*BUILT_IN, f"{name}:build"] if name.endswith(".py") else BUILT_IN)
            )
        path = base / file
        if not path.is_file():
            others = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
            raise UserError(f"search.families: no file {file} in {base}{nearest(path.name, others)}")
        _check_source(path, function)
        stem = path.stem if function == "build" else f"{path.stem}_{function}"
        own = {"name": stem.lower(), "file": path.name, "function": function, "source": packed(path.read_bytes())}
        modules = modules_of(path, base)
        more: Spec = {"modules": modules}
        if isinstance(entry, OwnFamily):
            more |= {"packages": packages_of(entry, base), "arguments": entry.arguments}
        families.append(own | {key: value for key, value in more.items() if value})
    twice = {family["name"] for family in families if [f["name"] for f in families].count(family["name"]) > 1}
    if twice:
        raise UserError(f'search.families: two families are called "{min(twice)}"; rename a file or remove one')
    sources: dict[str, str] = {}
    for place, text in [pair for family in families for pair in family.get("modules", {}).items()]:
        if sources.setdefault(place, text) != text:
            raise UserError(f"search.families: two families bring different files {place}; rename one")
    return families


def _check_source(path: Path, function: str) -> None:
    """Reads a user's file without running it.

    Raises:
        UserError: It is not Python, or nothing in it has the name of the function.
    """
    tree = parsed(path)
    named = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    named |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named |= {
        alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, _IMPORT) for alias in node.names
    }
    if function not in named:
        defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        raise UserError(f"search.families: {path.name} has no function {function}{nearest(function, defined)}")


def name_of(entry: FamilyEntry) -> str:
    """Return the name of a family in the run file; of one's own, its file and function."""
    return entry if isinstance(entry, str) else entry.file


def check_fit(entries: Iterable[FamilyEntry], images: bool, task: str) -> None:
    """Refuses built-in families that can't learn this data.

    Args:
        entries: As in the run file; those of a user's own are passed over.
        images: Whether the features are images.
        task: binary, multiclass or regression.

    Raises:
        UserError: With the families that can.
    """
    for name in (name_of(entry).partition(":")[0] for entry in entries):
        if name in ("cnn", *PREMADE) and not images:
            raise UserError(
                f"search.families: {name} needs images, and the data are a table; use mlp, realmlp or boosted_trees"
            )
        if name in TABLES and images:
            raise UserError(f"search.families: {name} needs a table, and the data are images; use cnn or mlp")
        if name in PREMADE and task == "regression":
            raise UserError(f"search.families: {name} is for classes, and the label is a number; use cnn or mlp")


def specs(travelled: str, manifest: Manifest) -> list[Spec]:
    """The families of a JSON string made from `travelling`, with "auto" spelled out for the data."""
    families: list[Spec] | str = json.loads(travelled)
    return automatic(manifest.image is not None) if isinstance(families, str) else families


def automatic(images: bool) -> list[Spec]:
    """The families that "auto" means."""
    names = ("mlp", "cnn", "boosted_trees") if images else ("mlp", "tabular", "realmlp", "boosted_trees")
    return [{"name": name} for name in names]


def spec_of(name: str, travelled: str, manifest: Manifest) -> Spec:
    """The family called `name` among `specs`."""
    return next(spec for spec in specs(travelled, manifest) if spec["name"] == name)


def is_trees(spec: Spec) -> bool:
    """Return whether the family is one of our trees; a user's own may have their name."""
    return spec["name"] in TREES and "source" not in spec


def family(spec: Spec, manifest: Manifest, machine: Callable[[], Any] | None = None) -> Family:
    """The family that `travelling` described, for the data of `manifest`.

    Args:
        spec: Spec of the family.
        manifest: Manifest of the data.
        machine: Gives the `TrainingMachine` that networks train on; one device when not given. Trees don't call it.

    Raises:
        UserError: The user's source does not load, has no such function, or the family does not fit the data.
    """
    # A user's own may have a built-in one's name.
    if "source" not in spec:
        check_fit([spec["name"]], manifest.image is not None, manifest.label.task)
    if is_trees(spec):
        return _trees(spec["name"], manifest)

    from kep.models.keras_family import KerasFamily

    more: dict[str, Any] = {"machine": machine} if machine else {}
    if "source" not in spec:
        if spec["name"] == "realmlp":
            from kep.models import realmlp

            more["begin"] = realmlp.begin
        return KerasFamily(spec["name"], _built_in(spec, manifest), manifest, **more)
    build, callbacks, train = _user_code(spec, Features(manifest))
    if train is None:
        return KerasFamily(spec["name"], build, manifest, callbacks=callbacks, **more)
    from kep.models.own_fit import OwnFit

    return OwnFit(spec["name"], build, manifest, train, callbacks=callbacks, **more)


def _trees(name: str, manifest: Manifest) -> Family:
    if name == "extra_trees":
        from kep.models.extra_trees import ExtraTrees

        return ExtraTrees(manifest)
    from kep.models.boosted_trees import BoostedTrees

    return BoostedTrees(manifest)


def on(hardware: TrialHardware) -> Callable[[], Any]:
    """Return the function by which `family` opens the device of a trial, in the process that trains."""

    def machine() -> Any:
        from kep.training.machine import TrainingMachine

        return TrainingMachine.of_trial(hardware)

    return machine


def _built_in(spec: Spec, manifest: Manifest) -> Build:
    if spec["name"] in PREMADE:
        from kep.models import premade

        return premade.build_for(spec["name"], manifest, spec.get("weights"))
    if spec["name"] == "mlp":
        from kep.models import mlp

        return mlp.build_for(manifest)
    if spec["name"] == "tabular":
        from kep.models import tabular

        return tabular.build_for(manifest)
    if spec["name"] == "realmlp":
        from kep.models import realmlp

        return realmlp.build_for(manifest)
    if spec["name"] == "tabm":
        from kep.models import tabm

        return tabm.build_for(manifest)
    from kep.models import cnn

    return cnn.build_for(manifest)


def _user_code(spec: Spec, features: Features) -> tuple[Build, Build | None, Callable[..., Any] | None]:
    """The user's `build(hp)`, the `callbacks(hp)` that the file may hold beside it, and a HyperModel's own `fit`.

    A function, or the `__init__` of a HyperModel, is told the features if it asks for them.
    """
    import keras_tuner

    check_packages([spec])
    file, function = spec["file"], spec["function"]
    source = unpacked(spec["source"])
    install(spec.get("modules", {}))
    # TensorFlow's AutoGraph reads the source of what it compiles.
    linecache.cache[file] = (len(source), None, source.decode().splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": spec["name"]}
    try:
        exec(compile(source, file, "exec"), namespace)
    except Exception as error:
        raise UserError(f"search.families: {spec['name']} does not load: {reason(error)}") from error
    if function not in namespace:
        defined = [name for name, value in namespace.items() if callable(value)]
        raise UserError(f"search.families: {file} has no function {function}{nearest(function, defined)}")
    build = namespace[function]
    arguments = spec.get("arguments", {})
    if isinstance(build, type) and issubclass(build, keras_tuner.HyperModel):
        if asks(build):
            arguments = {PARAMETER: features} | arguments
        check_arguments(f"{function} of {file}", build, arguments)
        try:
            build = build(**arguments)
        except Exception as error:
            raise UserError(f"search.families: {function} of {file} can't be made: {reason(error)}") from error
    elif arguments:
        raise UserError(
            f"search.families: {function} of {file} is no class of a HyperModel, which arguments are for; remove them"
        )
    if not isinstance(build, keras_tuner.HyperModel):
        return told(build, features), namespace.get("callbacks"), None
    own = type(build).fit is not keras_tuner.HyperModel.fit
    return build.build, namespace.get("callbacks"), build.fit if own else None
