"""Objects of Cloud Storage: found by name, and downloaded whole with their checksums verified.

Arrow's own Cloud Storage client is not used: it reads in ranges, which no checksum covers, it tries for minutes where
there are no credentials, and no variable of the environment sends it to a local server without them. ingest reads its
source several times; one verified download of one generation makes all of its passes see the same bytes.
"""

import base64
import gzip
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import requests
from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError, Unauthorized
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, InvalidOperation, RefreshError
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from components.shared.errors import UserError, nearest

_RETRY = DEFAULT_RETRY.with_timeout(60)
"""For one request, in seconds: on 408, 429, 5xx and broken connections, with growing pauses."""
_CORRUPT = 3
"""Downloads of one object of which each may arrive with a wrong checksum."""
_THREADS = 8
_PART = 32 << 20
"""Bytes that one request reads, so that a fault late in a large object costs a part of it."""


def find(location: str, chosen: Callable[[str], bool] | None) -> list[Blob]:
    """The objects that gs://bucket/name means, sorted by name: that object, else all under that folder.

    Args:
        location: for a glob, what all of its objects' names begin with.
        chosen: for a glob, whether it means the object `bucket/name`.

    Raises:
        UserError: there are none, or they cannot be listed.
    """
    bucket, _, name = location.removeprefix("gs://").partition("/")
    client = _client()
    with _explained(location):
        try:
            if chosen is None and name:
                blob = None if name.endswith("/") else client.bucket(bucket).get_blob(name, retry=_RETRY)
                if blob is not None:
                    return [blob]
                name = name.rstrip("/") + "/"
            found = list(client.list_blobs(bucket, prefix=name, retry=_RETRY))
            if chosen is not None:
                return [blob for blob in found if chosen(f"{bucket}/{blob.name}")]
            if not found and name:
                near = _neighbour(client, bucket, name.rstrip("/"))
                raise UserError(f'data.source: "{location}" does not exist{near or "; check the path"}')
            return found
        except NotFound as error:
            raise UserError(f'data.source: bucket "{bucket}" does not exist; check "{location}"') from error


def download(blobs: dict[str, Blob], folder: Path) -> None:
    """Downloads each object, at the generation that was found, to its path in the folder.

    A file that is there already with the right checksum, from an attempt that was cut short, is kept.

    Raises:
        UserError: an object cannot be read, has changed or arrives damaged, or the disk can't hold them.
    """
    wanted = {folder / path: blob for path, blob in blobs.items()}
    left = {path: blob for path, blob in wanted.items() if not (path.is_file() and _intact(path, blob))}
    needed, free = sum(blob.size for blob in left.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"data.source: not enough disk: the source needs {needed / 1e9:.2f} GB under {folder}, {free / 1e9:.2f} GB "
            "are free; free some, or name another folder in the environment variable TMPDIR"
        )
    for _ in range(_CORRUPT):
        for path, blob in left.items():
            with _explained(_location(blob)):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"")
        parts = [(path, blob, start) for path, blob in left.items() for start in range(0, blob.size, _PART)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(lambda part: _download(*part), parts):
                pass
        left = {path: blob for path, blob in left.items() if not _intact(path, blob)}
    for blob in left.values():
        raise UserError(
            f'data.source: "{_location(blob)}" arrived {_CORRUPT} times with a wrong checksum; '
            "check the network and run again"
        )
    for path, blob in wanted.items():
        if blob.content_encoding == "gzip" and not blob.name.endswith(".gz"):
            with _explained(_location(blob)):
                _unpack(path)


def _download(path: Path, blob: Blob, start: int) -> None:
    """Writes one part to its place in the file; nobody has verified it yet.

    The client verifies no range, and no download that it resumed after a broken connection.
    """
    with _explained(_location(blob)), open(path, "r+b") as file:
        file.seek(start)
        end = min(start + _PART, blob.size) - 1
        blob.download_to_file(file, start=start, end=end, raw_download=True, checksum=None, retry=_RETRY)


def _intact(path: Path, blob: Blob) -> bool:
    checksum = google_crc32c.Checksum()
    with open(path, "rb") as file:
        for _ in checksum.consume(file, 1 << 20):
            pass
    return base64.b64encode(checksum.digest()).decode() == blob.crc32c


def _location(blob: Blob) -> str:
    return f"gs://{blob.bucket.name}/{blob.name}"


def _unpack(path: Path) -> None:
    """Decompresses in place a file that was compressed for its way only, such as a .csv that is no .csv.gz."""
    packed = path.with_name(f"{path.name}.packed")
    path.rename(packed)
    with gzip.open(packed) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target)
    packed.unlink()


def _client() -> Client:
    """A client with Application Default Credentials; anonymous, as public buckets allow, where there are none."""
    try:
        return Client(project=None)
    except DefaultCredentialsError as error:
        if named := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            raise UserError(
                f'GOOGLE_APPLICATION_CREDENTIALS: "{named}" holds no credentials; correct the path, or unset it'
            ) from error
        return Client.create_anonymous_client()


def _neighbour(client: Client, bucket: str, name: str) -> str:
    parent, slash, last = name.rpartition("/")
    listing = client.list_blobs(bucket, prefix=parent + slash, delimiter="/", retry=_RETRY)
    names = [blob.name for blob in listing] + list(listing.prefixes)
    return nearest(last, [found.removeprefix(parent + slash).rstrip("/") for found in names])


@contextmanager
def _explained(location: str) -> Iterator[None]:
    """Turns what the client raises into one sentence."""
    try:
        yield
    except (Unauthorized, InvalidOperation, RefreshError) as error:
        raise UserError(
            f'data.source: "{location}" needs valid credentials; run "gcloud auth application-default login"'
        ) from error
    except Forbidden as error:
        raise UserError(
            f'data.source: "{location}" may not be read with these credentials; '
            "grant them the role Storage Object Viewer"
        ) from error
    except NotFound as error:
        raise UserError(f'data.source: "{location}" was changed or deleted while it was read; run again') from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f'data.source: "{location}" has Content-Encoding: gzip, but its GZIP data are damaged; upload it again'
        ) from error
    except (GoogleAPICallError, GoogleAuthError, RetryError, requests.RequestException, OSError) as error:
        cause = error.cause if isinstance(error, RetryError) else error
        if isinstance(cause, GoogleAPICallError | InvalidResponse):
            status = cause.code if isinstance(cause, GoogleAPICallError) else cause.response.status_code
            what = f"Cloud Storage answered {int(status)}"
        else:
            what = getattr(cause, "strerror", None) or type(cause).__name__
        raise UserError(f'data.source: "{location}" cannot be read ({what}); try again later') from error
