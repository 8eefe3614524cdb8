"""Addresses of data: one type for local paths, Cloud Storage, BigQuery and the sets of scikit-learn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kep.core.errors import UserError

Scheme = Literal["local", "gs", "bq", "sklearn"]
_PREFIXES: dict[Scheme, str] = {"gs": "gs://", "bq": "bq://", "sklearn": "sklearn:"}


@dataclass(frozen=True)
class Location:
    """An address as a person writes it: a local path, gs://BUCKET/NAME, bq://… or sklearn:NAME.

    Attributes:
        text: The address.
    """

    text: str

    @classmethod
    def in_cloud(cls, path: str) -> "Location":
        """Return the address of BUCKET/NAME on Cloud Storage."""
        return cls(_PREFIXES["gs"] + path)

    @property
    def scheme(self) -> Scheme:
        """Kind of the address; a path is local."""
        return next((scheme for scheme, prefix in _PREFIXES.items() if self.text.startswith(prefix)), "local")

    @property
    def is_local(self) -> bool:
        """True if it is a path on this machine."""
        return self.scheme == "local"

    @property
    def is_cloud(self) -> bool:
        """True if it is on Cloud Storage."""
        return self.scheme == "gs"

    @property
    def path(self) -> str:
        """The address without its scheme: a local path, BUCKET/NAME, a table or a query, or the name of a set."""
        return self.text.removeprefix(_PREFIXES.get(self.scheme, ""))

    @property
    def bucket(self) -> str:
        """Bucket of an address on Cloud Storage."""
        return self.path.partition("/")[0]

    @property
    def object_name(self) -> str:
        """Name within the bucket; empty for the bucket itself."""
        return self.path.partition("/")[2]

    def absolute(self, base: Path = Path(".")) -> "Location":
        """Return a local path as an absolute one; other addresses as they are.

        Args:
            base: Folder that a relative path starts from.

        Raises:
            UserError: It begins with the home folder of a user who is not there.
        """
        if not self.is_local:
            return self
        try:
            return Location(str((base / Path(self.text).expanduser()).absolute()))
        except RuntimeError:
            raise UserError(f'"{self.text}": there is no user {Path(self.text).parts[0][1:]}; give a path') from None

    def __truediv__(self, name: str) -> "Location":
        """Return the address of a file or folder under this one."""
        return Location(f"{self.text.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.text
