"""Objects of Cloud Storage: found by name, downloaded and uploaded whole with their checksums verified.

Arrow's own Cloud Storage client is not used: it reads in ranges, which no checksum covers, and it tries for minutes
where there are no credentials. Nor does a variable of the environment send it to a local server. A step that reads its
source several times sees the same bytes each time: those of one verified download of one generation.
"""

import base64
import gzip
import os
import re
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import google_crc32c
import requests
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RetryError,
    Unauthorized,
)
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, InvalidOperation, RefreshError
from google.cloud.storage import Blob, Bucket, Client, transfer_manager
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from kep.core.environment import PAYER
from kep.core.errors import AwayError, UserError, first_line, nearest
from kep.core.location import Location

RETRY = DEFAULT_RETRY.with_timeout(60)
"""For one request, in seconds: on 408, 429, 5xx and broken connections, with growing pauses."""
_ATTEMPTS = 3
"""Transfers of one object of which each may arrive with a wrong checksum, or break off for good."""
_WRITER = "kep-writer"
"""Metadata of an object that is written once: whose it is."""
_LONGEST = 255
"""Bytes of a file's name."""
_THREADS = 8
_PASSING = (408, 409, 410, 412, 429)
"""Answers below 500 that another attempt may not get: a time-out, a race, an upload that is gone, a quota."""
_SAID = re.compile(r'"message": "((?:[^"\\]|\\.)*)"')
"""Pattern of the service's message in an error that holds the request and the whole answer."""
PART = 32 << 20
"""Bytes that one request reads, so that a fault late in a large object costs a part of it."""


def find(location: str, chosen: Callable[[str], bool] | None, where: str = "data.source") -> list[Blob]:
    """The objects that gs://bucket/name means, sorted by name: that object, else all under that folder.

    Args:
        location: for a glob, what all of its objects' names begin with.
        chosen: for a glob, whether it means the object `bucket/name`.
        where: the location stands in the run file, for messages.

    Raises:
        UserError: there are none, or they cannot be listed.
    """
    bucket, name = Location(location).bucket, Location(location).object_name
    client = _client()
    with _explained(location, where):
        try:
            if chosen is None and name:
                blob = None if name.endswith("/") else _bucket(client, bucket).get_blob(name, retry=RETRY)
                if blob is not None:
                    return [blob]
                name = name.rstrip("/") + "/"
            found = list(client.list_blobs(_bucket(client, bucket), prefix=name, retry=RETRY))
            if chosen is not None:
                return [blob for blob in found if chosen(f"{bucket}/{blob.name}")]
            if not found and name:
                near = _neighbour(client, bucket, name.rstrip("/"))
                raise UserError(f'{where}: "{location}" does not exist{near or "; check the path"}')
            return found
        except NotFound as error:
            raise _no_bucket(bucket, location, where) from error


def download(blobs: dict[str, Blob], folder: Path, where: str = "data.source") -> None:
    """Downloads each object, at the generation that was found, to its path in the folder.

    A file that is there already with the right checksum, from an attempt that was cut short, is kept.

    Args:
        blobs: by path in the folder.
        folder: for the files.
        where: their location stands in the run file, for messages.

    Raises:
        UserError: an object cannot be read, has changed or arrives damaged, its name is no path in the folder, or the
            disk can't hold them.
    """
    wanted = {folder / path: blob for path, blob in paths_in(blobs, where).items()}
    left = {path: blob for path, blob in wanted.items() if not (path.is_file() and _intact(path, blob))}
    needed, free = sum(blob.size for blob in left.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{where}: not enough disk: the download needs {needed / 1e9:.2f} GB under {folder}, {free / 1e9:.2f} GB "
            "are free; free some, or name another folder in the environment variable TMPDIR"
        )
    for _ in range(_ATTEMPTS):
        for path, blob in left.items():
            with _explained(_location(blob), where):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"")
        parts = [(path, blob, start) for path, blob in left.items() for start in range(0, blob.size, PART)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(lambda part: _download(where, *part), parts):
                pass
        left = {path: blob for path, blob in left.items() if not _intact(path, blob)}
    for blob in left.values():
        raise AwayError(
            f'{where}: "{_location(blob)}" arrived {_ATTEMPTS} times with a wrong checksum; '
            "check the network and run again"
        )
    for path, blob in wanted.items():
        if blob.content_encoding == "gzip" and not blob.name.endswith(".gz"):
            with _explained(_location(blob), where):
                _unpack(path)


def paths_in(blobs: dict[str, Blob], where: str = "data.source") -> dict[str, Blob]:
    """Return the objects that are files, once their names are known to be paths that stay inside of a folder.

    What a console shows as an empty folder, an object of 0 bytes whose name ends in a slash, is no file.

    Args:
        blobs: by path, relative to the folder.
        where: their location stands in the run file, for messages.

    Raises:
        UserError: a name would leave the folder, is too long for a file, or is the folder of another one.
    """
    files = {path: blob for path, blob in blobs.items() if not (path.endswith("/") or path == "") or blob.size}
    folders = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    for path, blob in files.items():
        parts = path.split("/")
        if {"", ".", ".."} & set(parts) or "\0" in path or any(len(part.encode()) > _LONGEST for part in parts):
            raise UserError(f'{where}: the object "{_location(blob)}" has a name that is no path; rename it')
        if path in folders:
            raise UserError(f'{where}: the object "{_location(blob)}" has the name of a folder of others; rename it')
    return files


def read(location: str, where: str) -> tuple[bytes | None, int]:
    """Content and generation of one object; None and 0 where there is none.

    Args:
        location: gs://bucket/name.
        where: it stands in the run file, for messages.

    Raises:
        UserError: it can't be read.
    """
    bucket, name = Location(location).bucket, Location(location).object_name
    client = _client()
    with _explained(location, where):
        for _ in range(_ATTEMPTS):
            try:
                blob = _bucket(client, bucket).get_blob(name, retry=RETRY)
                if blob is None:
                    next(iter(client.list_blobs(_bucket(client, bucket), max_results=1, retry=RETRY)), None)
                    return None, 0
                content = blob.download_as_bytes(
                    raw_download=True, if_generation_match=blob.generation, checksum=None, retry=RETRY
                )
            except PreconditionFailed:  # replaced between the two requests
                continue
            except NotFound as error:
                if blob is None:
                    raise _no_bucket(bucket, location, where) from error
                continue
            if _checksum(content) == blob.crc32c:
                return content, blob.generation
    raise AwayError(f'{where}: "{location}" cannot be read: it was replaced, or arrived damaged, {_ATTEMPTS} times')


def replace(location: str, content: bytes, generation: int, where: str) -> bool:
    """Writes one object if nobody has written it since it was read.

    Args:
        location: gs://bucket/name.
        content: of the object.
        generation: that `read` gave.
        where: it stands in the run file, for messages.

    Returns:
        Whether this writer was first. An answer that was lost does not count against it: the client's second request
        then fails for the precondition, and the token tells whose object is there.

    Raises:
        UserError: it can't be written.
    """
    bucket, name = Location(location).bucket, Location(location).object_name
    blob = _bucket(_client(), bucket).blob(name)
    blob.metadata = {_WRITER: uuid.uuid4().hex}
    with _explained(location, where, written=True):
        try:
            blob.upload_from_string(
                content, "application/json", if_generation_match=generation, checksum="crc32c", retry=RETRY
            )
        except PreconditionFailed:
            there = blob.bucket.get_blob(name, retry=RETRY)
            return there is not None and (there.metadata or {}).get(_WRITER) == blob.metadata[_WRITER]
    return True


def upload(folder: Path, location: str, where: str) -> bool:
    """Uploads the files of a folder to objects of the same relative names, and verifies what has arrived.

    Args:
        folder: of the files.
        location: gs://bucket/folder. Objects with a file's name and content are not written again.
        where: it stands in the run file, for messages.

    Returns:
        Whether anything had to be written.

    Raises:
        UserError: one can't be written.
    """
    bucket, prefix = Location(location).bucket, Location(location).object_name.rstrip("/")
    paths = {f"{prefix}/{p.relative_to(folder).as_posix()}": p for p in sorted(folder.rglob("*")) if p.is_file()}
    client, problem, attempt = _client(), None, 0
    for attempt in range(_ATTEMPTS + 1):
        with _explained(location, where, written=True):
            try:
                there = {
                    blob.name: blob
                    for blob in client.list_blobs(_bucket(client, bucket), prefix=f"{prefix}/", retry=RETRY)
                }
            except NotFound as error:
                raise _no_bucket(bucket, location, where) from error
            left = {n: path for n, path in paths.items() if n not in there or not _intact(path, there[n])}
            if not left:
                break
            if attempt == _ATTEMPTS:
                raise problem or OSError("other checksums than the files have")
            pairs = [(str(path), _bucket(client, bucket).blob(name)) for name, path in left.items()]
            # A chunk that was kept in part, or a session that is gone, ends an upload for good: it starts anew.
            answers = transfer_manager.upload_many(
                pairs,
                upload_kwargs={"checksum": "crc32c", "retry": RETRY},
                worker_type=transfer_manager.THREAD,
                max_workers=_THREADS,
            )
            problem = next((answer for answer in answers if isinstance(answer, Exception)), None)
            if isinstance(problem, Forbidden | Unauthorized | GoogleAuthError):
                raise problem
    return attempt > 0


def _download(where: str, path: Path, blob: Blob, start: int) -> None:
    """Writes one part to its place in the file; nobody has verified it yet.

    The client verifies no range, and no download that it resumed after a broken connection.
    """
    with _explained(_location(blob), where), open(path, "r+b") as file:
        file.seek(start)
        end = min(start + PART, blob.size) - 1
        blob.download_to_file(file, start=start, end=end, raw_download=True, checksum=None, retry=RETRY)


def _intact(path: Path, blob: Blob) -> bool:
    checksum = google_crc32c.Checksum()
    with open(path, "rb") as file:
        for _ in checksum.consume(file, 1 << 20):
            pass
    return base64.b64encode(checksum.digest()).decode() == str(blob.crc32c)


def _refusal(error: GoogleAPICallError | InvalidResponse) -> str:
    """Return why Cloud Storage refuses a request, and what to do."""
    text = str(error.message) if isinstance(error, GoogleAPICallError) else error.response.text
    found = _SAID.search(text)
    said = first_line(found[1] if found else re.sub(r"^[A-Z]+ https?://\S+: ", "", text))
    if "requester pays" in said:
        return f"its bucket has the requester pay ({said}); name your project with kep --user-project, or {PAYER}"
    return f"Cloud Storage refuses it ({said}); check the name and the login"


def _checksum(content: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def _no_bucket(bucket: str, location: str, where: str) -> UserError:
    return UserError(f'{where}: bucket "{bucket}" does not exist; check "{location}"')


def _location(blob: Blob) -> str:
    return Location.in_cloud(f"{blob.bucket.name}/{blob.name}").text


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


def _bucket(client: Client, name: str) -> Bucket:
    return client.bucket(name, user_project=os.environ.get(PAYER) or None)


def _neighbour(client: Client, bucket: str, name: str) -> str:
    parent, slash, last = name.rpartition("/")
    listing = client.list_blobs(_bucket(client, bucket), prefix=parent + slash, delimiter="/", retry=RETRY)
    names = [blob.name for blob in listing] + list(listing.prefixes)
    return nearest(last, [found.removeprefix(parent + slash).rstrip("/") for found in names])


@contextmanager
def _explained(location: str, where: str, written: bool = False) -> Iterator[None]:
    """Turns what the client raises into one sentence."""
    done, role = ("written", "User") if written else ("read", "Viewer")
    try:
        yield
    except (Unauthorized, InvalidOperation, RefreshError) as error:
        raise UserError(
            f'{where}: "{location}" needs valid credentials; run "gcloud auth application-default login"'
        ) from error
    except Forbidden as error:
        raise UserError(
            f'{where}: "{location}" may not be {done} with these credentials; grant them the role Storage Object {role}'
        ) from error
    except NotFound as error:
        raise UserError(f'{where}: "{location}" was changed or deleted while it was {done}; run again') from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f'{where}: "{location}" has Content-Encoding: gzip, but its GZIP data are damaged; upload it again'
        ) from error
    except (
        GoogleAPICallError,
        GoogleAuthError,
        InvalidResponse,
        RetryError,
        requests.RequestException,
        OSError,
        ValueError,  # of a resumable upload whose chunk was kept in part
    ) as error:
        cause = error.cause if isinstance(error, RetryError) else error
        if isinstance(cause, GoogleAPICallError | InvalidResponse):
            status = int((cause.code if isinstance(cause, GoogleAPICallError) else cause.response.status_code) or 0)
            what = f"Cloud Storage answered {status:d}"
            if 400 <= status < 500 and status not in _PASSING:
                raise UserError(f'{where}: "{location}" cannot be {done}: {_refusal(cause)}') from error
        else:
            what = getattr(cause, "strerror", None) or type(cause).__name__
        raise AwayError(f'{where}: "{location}" cannot be {done} ({what}); try again later') from error
