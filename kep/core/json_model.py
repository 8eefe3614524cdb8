"""Typed JSON: what one step writes and another reads, in a file or in a parameter of the pipeline."""

import hashlib
import json
import operator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from kep.core.errors import UserError
from kep.core.files import check_files, finite, write_json

Figure = Annotated[float | None, BeforeValidator(finite)]
"""A measured number; None where it is not finite, since JSON has no NaN."""

_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is unknown",
    "int": "expected a whole number",
    "float": "expected a number",
    "bool": "expected true or false",
    "string": "expected text",
    "list": "expected a list",
    "tuple": "expected a list",
    "dict": "expected an object",
    "model": "expected an object",
}
"""Kinds of pydantic's errors, by how they begin, in words."""


class JsonModel(BaseModel):
    """A frozen value with a JSON form; unknown keys are refused.

    Attributes:
        KIND: Name of the value in messages, with its article.
        REMEDY: Advice in messages for a value that can't be read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    KIND: ClassVar[str] = "a value"
    REMEDY: ClassVar[str] = "run the step again"

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "the parameter") -> Self:
        """Parse the value.

        Args:
            text: JSON.
            source: Name of the text in messages.

        Raises:
            UserError: The text is not JSON, or does not fit.
        """
        try:
            return cls.model_validate_json(text, strict=True)
        except ValidationError as error:
            raise UserError(f"{source} does not hold {cls.KIND} ({_problem(error)}); {cls.REMEDY}") from error

    def to_json(self) -> str:
        """Return one line of JSON with sorted keys: equal values give equal bytes, and so one cache key."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


FINGERPRINT = "fingerprint"
"""Key in the JSON of a file: sha256 over the rest of it. Files of before there were fingerprints have none."""


class JsonFile(JsonModel):
    """A value that lies in a file of its own, with the fingerprint of its content.

    Attributes:
        FILE: Name of the file in its folder.
        UNSIGNED: Whether a file without a fingerprint is read: one of before there were any.
    """

    FILE: ClassVar[str]
    UNSIGNED: ClassVar[bool] = True

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "the parameter") -> Self:
        """Parse the content of a file, once its fingerprint is verified; arguments and errors as of `JsonModel`.

        Raises:
            UserError: The content was changed after it was written.
        """
        try:
            content = json.loads(text)
        except ValueError:
            content = None
        if not isinstance(content, dict) or (cls.UNSIGNED and FINGERPRINT not in content):
            return super().from_json(text, source)
        plain = {key: value for key, value in content.items() if key != FINGERPRINT}
        value = super().from_json(json.dumps(plain), source)
        # After what does not fit, whose message says more.
        without_fingerprint(content, source, cls.REMEDY)
        return value

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read `folder`/`FILE`.

        Raises:
            UserError: The file is missing, torn, or holds something else.
        """
        return cls.read(Path(folder) / cls.FILE)

    def save(self, folder: str | Path) -> None:
        """Write `folder`/`FILE` atomically, as readable JSON."""
        self.write(Path(folder) / self.FILE)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of any name; errors as of `load`."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} can't be read ({error.strerror}); {cls.REMEDY}") from error
        return cls.from_json(content, str(path))

    def write(self, path: Path) -> None:
        """Write a file of any name, as `save` does."""
        write_json(path, self.with_fingerprint())

    def with_fingerprint(self) -> dict[str, Any]:
        """Return the content of the file: the value with its fingerprint."""
        return with_fingerprint(self.model_dump(mode="json"))


class JsonFolder(JsonFile):
    """A value in a file of its own that vouches for the files beside it."""

    files: dict[str, str] = Field(default_factory=dict, exclude_if=operator.not_)
    """Digests of files and folders beside it by relative path, as `kep.core.files.tree_digest` makes them."""

    def check(self, folder: str | Path, *names: str) -> None:
        """Verify files beside it.

        Args:
            folder: Folder of the file.
            names: Relative paths; all of `files` without any.

        Raises:
            UserError: A file is missing or damaged, or has no digest.
        """
        if unknown := [name for name in names if name not in self.files]:
            raise UserError(f"{Path(folder) / self.FILE} has no digest of {unknown[0]}; {self.REMEDY}")
        check_files(Path(folder), {name: self.files[name] for name in names or self.files}, self.REMEDY)


def with_fingerprint(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a JSON file with its fingerprint, in place of the one that it may have."""
    plain = {key: value for key, value in finite(content).items() if key != FINGERPRINT}
    return plain | {FINGERPRINT: fingerprint(plain)}


def without_fingerprint(content: dict[str, Any], source: str, remedy: str) -> dict[str, Any]:
    """Return what `with_fingerprint` was given.

    Args:
        content: Content of a file with its fingerprint.
        source: Name of the file in messages.
        remedy: Advice in messages.

    Raises:
        UserError: The content was changed after it was written.
    """
    plain = {key: value for key, value in content.items() if key != FINGERPRINT}
    if content.get(FINGERPRINT) != fingerprint(plain):
        raise UserError(
            f"{source} was changed after kep wrote it: its fingerprint is not that of its content; {remedy}"
        )
    return plain


def fingerprint(content: dict[str, Any]) -> str:
    """Return the sha256 over the content of a JSON file without its fingerprint."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_none(value: Any) -> bool:
    """Return whether a key is left out of the JSON: for `Field(exclude_if=is_none)`."""
    return value is None


def _problem(error: ValidationError) -> str:
    """Return the first mistake in words, such as "members.0.weight: expected a number"."""
    first = error.errors()[0]
    kind, place = first["type"], ".".join(str(part) for part in first["loc"])
    if kind == "json_invalid":
        return "it is not JSON"
    if kind == "literal_error":
        words = f"expected {first['ctx']['expected']}"
    else:
        words = next((words for start, words in _WORDS.items() if kind.startswith(start)), first["msg"])
    return f"{place}: {words}" if place else words
