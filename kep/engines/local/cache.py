"""kfp.local's cache, verified: what an earlier task stored is reused only while it is what that task wrote.

An entry holds the digest of each artifact, and its path relative to the store. So a runs folder can be moved or
copied, and a copy never reads the original.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from kfp.dsl import Artifact
from kfp.local.cache import LocalCache

from kep.core.errors import UserError
from kep.core.files import tree_digest
from kep.core.json_model import JsonFile
from kep.pipelines.steps import step_of

ROOT = "kep-store:"
"""Prefix of a path in the store, in place of the store's own path."""


class CacheEntry(JsonFile):
    """Outputs of a task, as its cache entry holds them."""

    KIND: ClassVar[str] = "a cache entry"
    UNSIGNED: ClassVar[bool] = False

    key: str
    """Key of the task, so that the entry of another is noticed."""
    outputs: dict[str, Any]
    """As kfp.local serialises them; paths begin with `ROOT`."""
    digests: dict[str, str]
    """Digest of each artifact, by its path relative to the store."""


class VerifiedCache(LocalCache):  # type: ignore[misc]  # kfp has no types
    """Cache entries that are verified when they are read.

    Args:
        cache_root: Folder of the entries.
        store: Folder of the artifacts.
        reused: Called with the step of each task that is answered from the cache.
        damaged: Called with the step and the path of an artifact that is not what the entry says.
    """

    def __init__(
        self, cache_root: str, store: Path, reused: Callable[[str], None], damaged: Callable[[str, Path], None]
    ) -> None:
        super().__init__(cache_root)
        self._store, self._reused, self._damaged = store.absolute(), reused, damaged
        self._steps: dict[str, str] = {}

    def compute_key(self, component_name: str, *details: Any, arguments: Mapping[str, Any], **more: Any) -> str:
        """Return the key of a task, which does not depend on where the store is."""
        movable = {name: self._movable(value) for name, value in arguments.items()}
        key: str = super().compute_key(component_name, *details, arguments=movable, **more)
        self._steps[key] = step_of(component_name.removeprefix("comp-"))
        return key

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the outputs of the task, or None where there are none or one is not what the task wrote."""
        step, path = self._steps[key], Path(self._entry_path(key))
        try:
            entry = CacheEntry.read(path)
        except UserError:
            if path.exists():
                self._damaged(step, path)
            return None
        changed = [name for name, digest in entry.digests.items() if tree_digest(self._store / name) != digest]
        if changed or entry.key != key:
            self._damaged(step, self._store / changed[0] if changed else path)
            return None
        outputs: dict[str, Any] = self._deserialize_outputs(_placed(entry.outputs, f"{self._store}/"))
        self._reused(step)
        return outputs

    def put(self, key: str, outputs: dict[str, Any]) -> None:
        """Write the outputs of a task with the digests of its artifacts."""
        artifacts = [one for value in outputs.values() for one in (value if isinstance(value, list) else [value])]
        paths = [Path(one.path).relative_to(self._store) for one in artifacts if isinstance(one, Artifact)]
        digests = {str(path): tree_digest(self._store / path) for path in paths}
        content = json.loads(json.dumps(self._serialize_outputs(outputs)).replace(f'"{self._store}/', f'"{ROOT}'))
        CacheEntry(key=key, outputs=content, digests=digests).write(Path(self._entry_path(key)))

    def _movable(self, value: Any) -> Any:
        if isinstance(value, Artifact):
            uri = value.uri.removeprefix(f"{self._store}/")
            return {"artifact": uri, "name": value.name, "type": value.schema_title, "metadata": value.metadata}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [self._movable(one) for one in value]
        return value


def _placed(value: Any, prefix: str) -> Any:
    """Return a value whose paths in the store are absolute again."""
    if isinstance(value, str):
        return prefix + value.removeprefix(ROOT) if value.startswith(ROOT) else value
    if isinstance(value, list):
        return [_placed(one, prefix) for one in value]
    if isinstance(value, dict):
        return {key: _placed(one, prefix) for key, one in value.items()}
    return value
