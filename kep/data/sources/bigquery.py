"""bq:// sources: a table, or the result of a query, that BigQuery extracts to Parquet files on Cloud Storage.

An extract is of one state of its tables, and its name follows from that state: whatever reads the source again finds
the files there. A job whose answer was lost is found by its id.
"""

import hashlib
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from kep.config.data import DataSettings
from kep.core.errors import AwayError, UserError, first_line
from kep.core.location import Location

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, ExtractJob, QueryJob, Table

log = logging.getLogger("kep.ingest")

_TABLE = re.compile(r"([a-z][a-z0-9.:-]*)\.(\w+)\.([\w$-]+)")
_PROJECT = re.compile(r"[a-z][a-z0-9.:-]*")
_ENDING = ".parquet"


@dataclass(frozen=True)
class Extract:
    """Description of an extract of a bq:// source.

    Attributes:
        location: The source.
        project: Project that pays for the jobs.
        place: Location of the data, such as EU, and of the bucket.
        table: Full name of the table that is extracted as it is; empty where a query comes first.
        query: Query that comes first; empty for a table.
        key: Equal as long as no table that is read has changed.
        bytes: Bytes of the table, or those that a query would read, which BigQuery charges for.
    """

    location: Location
    project: str
    place: str
    table: str
    query: str
    key: str
    bytes: int


def look(location: Location) -> Extract:
    """Describe an extract; nothing is started, and nothing charged.

    Args:
        location: bq://PROJECT.DATASET.TABLE, or bq://PROJECT, a blank, and a query. A view is read by a query.

    Raises:
        UserError: It is neither, or can't be read.
    """
    name, _, query = " ".join(location.path.split()).partition(" ")
    if not (_PROJECT if query else _TABLE).fullmatch(name):
        raise UserError(
            f'data.source: "{location.text[:80]}" names no table; give bq://PROJECT.DATASET.TABLE, or '
            "bq://PROJECT SELECT …"
        )
    if query:
        return _look_at_query(location, name, query)
    project = name.rsplit(".", 2)[0]
    client = _client(project)
    with _explained(location):
        table = client.get_table(name)
    if table.table_type != "TABLE":
        return _look_at_query(location, project, f"SELECT * FROM `{name}`")
    return Extract(location, project, table.location, name, "", _key(name, [table]), table.num_bytes)


def extracted(location: Location, settings: DataSettings) -> Location:
    """The glob of the Parquet files of a source, which are made if they are not there.

    Args:
        location: Location of the source; any but bq:// is returned as it is.
        settings: The data section of the run file.

    Raises:
        UserError: BigQuery can't do it, or there is no folder for the files.
    """
    if location.scheme != "bq":
        return location
    if settings.extract_to is None:
        raise UserError(f"data.extract_to: give a gs:// folder for the Parquet files that BigQuery makes of {location}")
    if settings.format not in ("auto", "parquet"):
        raise UserError(f"data.format: BigQuery's files are Parquet, not {settings.format}; remove data.format")
    from kep.google import objects

    asked = look(location)
    client = _client(asked.project)
    for attempt in count(1):
        files = f"{settings.extract_to.rstrip('/')}/{asked.key}/{attempt}/*{_ENDING}"
        written = _extract(client, asked, files)
        if (
            written
            and len(objects.find(files.removesuffix(f"*{_ENDING}"), lambda name: name.endswith(_ENDING))) == written
        ):
            return Location(files)
    raise AssertionError  # count() has no end


def _extract(client: "Client", asked: Extract, files: str) -> int:
    """Makes the files, unless a job has done so before.

    Returns:
        How many BigQuery wrote; 0 where the job of an earlier call failed, and another must be begun.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud.bigquery import ExtractJobConfig

    name = hashlib.sha256(files.encode()).hexdigest()[:16]
    how: dict[str, Any] = {"location": asked.place, "project": asked.project}

    def ask(job: str) -> "QueryJob":
        return client.query(asked.query, job_id=job, job_retry=None, **how)

    def begin(job: str) -> "ExtractJob":
        source = asked.table
        if asked.query:
            query, _ = _job(client, f"kep-query-{name}", how, ask)
            query.result(job_retry=None)
            source = query.destination
        log.info("BigQuery extracts %s to %s", asked.location, files)
        config = ExtractJobConfig(destination_format="PARQUET", compression="ZSTD")
        return client.extract_table(source, files, job_id=job, job_config=config, **how)

    with _explained(asked.location):
        job, found = _job(client, f"kep-extract-{name}", how, begin)
        try:
            job.result()
        except GoogleAPICallError:
            if not found:
                raise
            return 0
        return sum(job.destination_uri_file_counts)


def _job(client: "Client", job: str, how: dict[str, Any], begin: Callable[[str], Any]) -> tuple[Any, bool]:
    """The job of that id, and whether it was there before; else the one that `begin` makes."""
    from google.api_core.exceptions import Conflict, NotFound

    try:
        return client.get_job(job, **how), True
    except NotFound:
        pass
    try:
        return begin(job), False
    except Conflict:  # the answer to the first of two requests was lost, or another reader was faster
        return client.get_job(job, **how), False


def _look_at_query(location: Location, project: str, query: str) -> Extract:
    from google.cloud.bigquery import QueryJobConfig

    client = _client(project)
    with _explained(location):
        dry = client.query(query, job_config=QueryJobConfig(dry_run=True, use_query_cache=False), project=project)
        tables = [client.get_table(reference) for reference in dry.referenced_tables]
    return Extract(location, project, dry.location, "", query, _key(query, tables), dry.total_bytes_processed)


def _key(what: str, tables: list["Table"]) -> str:
    states = [f"{table.full_table_id} {table.modified} {table.num_rows} {table.num_bytes}" for table in tables]
    return hashlib.sha256("\0".join([what, *sorted(states)]).encode()).hexdigest()[:16]


def _client(project: str) -> "Client":
    """A client with Application Default Credentials.

    Raises:
        UserError: There are none.
    """
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import bigquery

    try:
        return bigquery.Client(project=project)
    except DefaultCredentialsError as error:
        raise UserError(
            'data.source: BigQuery needs credentials; run "gcloud auth application-default login"'
        ) from error


@contextmanager
def _explained(location: Location) -> Iterator[None]:
    """Turns what the client raises into one sentence."""
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError, ServerError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except GoogleAuthError as error:
        raise UserError(
            f'data.source: "{location}" needs valid credentials; run "gcloud auth application-default login"'
        ) from error
    except NotFound as error:
        raise UserError(
            f'data.source: "{location}": {_first_line(error)}; check project, data set and table'
        ) from error
    except Forbidden as error:
        raise UserError(
            f'data.source: "{location}": {_first_line(error)}; grant the roles BigQuery Job User on the project and '
            "BigQuery Data Viewer on the data set"
        ) from error
    except (RetryError, ServerError, OSError) as error:
        raise AwayError(
            f'data.source: "{location}": BigQuery answered: {_first_line(error)}; try again later'
        ) from error
    except GoogleAPICallError as error:
        raise UserError(f'data.source: "{location}": BigQuery answered: {_first_line(error)}') from error


def _first_line(error: Exception) -> str:
    """Return the message of the service, without the requested address."""
    text = str(getattr(error, "message", None) or error)
    return first_line(text.rpartition("prettyPrint=false: ")[2])
