"""BigQuery in memory: tables with their last change, and the jobs query (dry or not) and extract, over HTTPS.

It speaks the part of the REST API that google-cloud-bigquery uses for them, and was checked against that client alone.
A query is a function of the test; an extract really writes Parquet files to the Cloud Storage server of the tests.
"""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tests.servers import faults, gcs
from tests.servers.tunnel import Running, Tunnel, json_handler


@dataclass
class Fault:
    """What goes wrong with requests whose "METHOD path" the pattern finds.

    Attributes:
        pattern: Searched in it.
        status: Of the answer.
        lost: Whether what was asked for is done all the same.
    """

    pattern: str
    status: int
    lost: bool = False
    message: str = "injected fault"
    times: float = 1
    skip: int = 0
    hits: int = 0


@dataclass
class Table:
    content: pa.Table
    modified: int = 1
    kind: str = "TABLE"
    place: str = "EU"


@dataclass
class _Job:
    project: str
    configuration: dict
    place: str
    statistics: dict = field(default_factory=dict)
    error: str = ""


class Server(Running):
    """The server, in threads of this process; a context manager.

    Attributes:
        tables: By PROJECT.DATASET.TABLE.
        queries: Results by the text of the query.
        jobs: By id.
        storage: That extracts write to.
        rows_per_file: Of an extract.
        journal: "METHOD path" of every request.
        faults: Arranged ones.
    """

    def __init__(self, tunnel: Tunnel):
        self._servers = [tunnel.https(r"bigquery\.googleapis\.com", json_handler(self._answer, "bigquery.v2"))]
        self.reset(None)

    def reset(self, storage: gcs.Server | None) -> None:
        """Forgets everything."""
        self.tables: dict[str, Table] = {}
        self.queries: dict[str, Callable[[], pa.Table]] = {}
        self.jobs: dict[str, _Job] = {}
        self.journal: list[str] = []
        self.faults: list[Fault] = []
        self.rows_per_file = 1000
        self.storage = storage

    def ran(self, kind: str) -> int:
        """How many jobs of a kind (query, extract) there are."""
        return sum(kind in job.configuration for job in self.jobs.values())

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        url = urlsplit(path)
        line = f"{method} {url.path}"
        self.journal.append(line)
        fault = faults.due(self.faults, lambda fault: re.search(fault.pattern, line) is not None)
        if fault and not fault.lost:
            return _refused(fault.status, fault.message)
        answer = self._routed(method, url.path, body, parse_qs(url.query))
        return _refused(fault.status, fault.message) if fault else answer

    def _routed(self, method: str, path: str, body: bytes, query: dict) -> tuple[int, object]:
        if match := re.fullmatch(r"/bigquery/v2/projects/([^/]+)/datasets/([^/]+)/tables/([^/]+)", path):
            name = ".".join(match.groups())
            found = self.tables.get(name)
            return (200, _resource(name, found)) if found else _refused(404, f"Not found: Table {name}")
        if method == "POST" and (match := re.fullmatch(r"/bigquery/v2/projects/([^/]+)/jobs", path)):
            return self._begin(match[1], json.loads(body))
        if match := re.fullmatch(r"/bigquery/v2/projects/([^/]+)/(?:jobs|queries)/([^/]+)", path):
            job = self.jobs.get(match[2])
            if job is None or job.place != query.get("location", [job.place])[0]:
                return _refused(404, f"Not found: Job {match[2]}")
            if "/queries/" in path:
                return 200, {"jobComplete": True, "jobReference": _reference(match[2], job), "totalRows": "0"}
            return 200, _described(match[2], job)
        return _refused(404, f"no such path: {path}")

    def _begin(self, project: str, asked: dict) -> tuple[int, object]:
        configuration = asked["configuration"]
        id = asked.get("jobReference", {}).get("jobId", "dry")
        if id in self.jobs:
            return _refused(409, f"Already Exists: Job {id}")
        job = _Job(project, configuration, "EU")
        if query := configuration.get("query"):
            if query["query"] not in self.queries:
                return _refused(400, f"Syntax error: {query['query']}")
            used = [name for name in self.tables if name in query["query"].replace("`", "")]
            size = sum(self.tables[name].content.nbytes for name in used)
            references = [
                dict(zip(("projectId", "datasetId", "tableId"), name.split("."), strict=True)) for name in used
            ]
            job.statistics = {"query": {"referencedTables": references, "totalBytesProcessed": str(size)}}
            if configuration.get("dryRun"):
                return 200, _described(id, job)
            self.tables[f"{project}._anonymous.{id}"] = Table(self.queries[query["query"]]())
            query["destinationTable"] = {"projectId": project, "datasetId": "_anonymous", "tableId": id}
        else:
            source = ".".join(configuration["extract"]["sourceTable"].values())
            if source not in self.tables:
                return _refused(404, f"Not found: Table {source}")
            self._extract(job, self.tables[source].content)
        self.jobs[id] = job
        return 200, _described(id, job)

    def _extract(self, job: _Job, content: pa.Table) -> None:
        (glob,) = job.configuration["extract"]["destinationUris"]
        bucket, _, name = glob.removeprefix("gs://").partition("/")
        if bucket not in self.storage.buckets:
            job.error = f"Not found: Bucket {bucket}"
            return
        starts = range(0, max(1, content.num_rows), self.rows_per_file)
        for number, start in enumerate(starts):
            file = io.BytesIO()
            pq.write_table(content.slice(start, self.rows_per_file), file)
            self.storage.put(bucket, name.replace("*", f"{number:012d}"), file.getvalue())
        job.statistics = {"extract": {"destinationUriFileCounts": [str(len(starts))]}}


def _resource(name: str, table: Table) -> dict:
    project, dataset, id = name.split(".")
    return {
        "id": f"{project}:{dataset}.{id}",
        "tableReference": {"projectId": project, "datasetId": dataset, "tableId": id},
        "type": table.kind,
        "location": table.place,
        "lastModifiedTime": str(table.modified),
        "numRows": str(table.content.num_rows),
        "numBytes": str(table.content.nbytes),
    }


def _reference(id: str, job: _Job) -> dict:
    return {"projectId": job.project, "jobId": id, "location": job.place}


def _described(id: str, job: _Job) -> dict:
    status = {"state": "DONE"}
    if job.error:
        status["errorResult"] = {"reason": "notFound", "message": job.error}
    return {
        "id": f"{job.project}:{job.place}.{id}",
        "jobReference": _reference(id, job),
        "configuration": job.configuration,
        "status": status,
        "statistics": job.statistics,
    }


def _refused(status: int, message: str) -> tuple[int, object]:
    reason = {404: "notFound", 409: "duplicate", 403: "accessDenied", 503: "backendError"}.get(status, "invalid")
    return status, {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}
