"""Local stand-ins for Google's services, for the tests beside this file."""

from collections.abc import Iterator

import pytest
import yaml

from tests.cloud import gcs as storage
from tests.cloud.tunnel import Tunnel
from tests.conftest import DATA


@pytest.fixture
def gcs(monkeypatch) -> Iterator[storage.Server]:
    """A server with the bucket "data", which Google's clients in this process and its children use."""
    with storage.Server("data") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


@pytest.fixture(scope="session")
def _behind(tmp_path_factory):
    """The tunnel and what stands behind it: one for all tests, since gRPC reads its authorities once in a process."""
    from tests.cloud import registry, vertex, vertex_jobs, vizier

    with Tunnel(tmp_path_factory.mktemp("tunnel")) as tunnel:
        runs = vertex.Server(tunnel)
        jobs, studies = vertex_jobs.Jobs(runs), vizier.Studies(runs)
        with runs, registry.Server(tunnel) as templates:
            yield tunnel, runs, jobs, studies, templates


@pytest.fixture
def tunnel(_behind, monkeypatch) -> Tunnel:
    """Where the hosts of Google are, for this process and its children."""
    found, *_ = _behind
    found.refused.clear()
    found.revoked = False
    for name, value in found.environment().items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def vertex(_behind, tunnel, monkeypatch):
    """An empty Vertex AI in every region of every project; what waits for it does not wait long."""
    from pipelines import submit, template, vertex

    for calls in (vertex.CHANGE, vertex.LOOK, vertex.FOLLOW, template.STORAGE):
        monkeypatch.setitem(calls, "retry", calls["retry"].with_delay(0.01, 0.01).with_timeout(1))
    monkeypatch.setattr(submit, "POLL", 0)
    _, server, *_ = _behind
    server.reset()
    return server


@pytest.fixture
def jobs(_behind, vertex, monkeypatch, tmp_path):
    """The custom jobs of that Vertex AI: none."""
    from pipelines import launch

    monkeypatch.setattr(launch, "POLL", 0.02)
    _, _, service, *_ = _behind
    (tmp_path / "mounted").mkdir()
    service.reset(tmp_path / "mounted")
    yield service
    service.reset(tmp_path)


@pytest.fixture
def studies(_behind, vertex, monkeypatch):
    """The studies of that Vertex AI: none."""
    from components.tune import vizier

    monkeypatch.setitem(vizier.RETRY, "retry", vizier.RETRY["retry"].with_delay(0.01, 0.01).with_timeout(1))
    *_, service, _ = _behind
    service.reset()
    return service


@pytest.fixture
def registry(_behind, tunnel):
    """An empty repository of templates, in every project."""
    *_, server = _behind
    server.reset()
    return server


@pytest.fixture(scope="session")
def _bigquery(_behind):
    from tests.cloud import bigquery

    with bigquery.Server(_behind[0]) as server:
        yield server


@pytest.fixture
def churn(gcs, tmp_path):
    """The path of a run file with its data on gs://, in a folder with a lock of the images."""
    gcs.put("data", "churn.csv", (DATA / "churn.csv").read_bytes())
    settings = {"name": "churn", "data": {"source": "gs://data/churn.csv", "label": "churned"}}
    path = tmp_path / "churn.yaml"
    path.write_text(yaml.safe_dump(settings))
    (tmp_path / "containers").mkdir()
    digests = {"cpu": "a" * 64, "glue": "b" * 64, "gpu": "d" * 64, "tpu": "e" * 64}
    lock = {name: f"registry.example/team/{name}@sha256:{digest}" for name, digest in digests.items()}
    (tmp_path / "containers" / "images.lock.yaml").write_text(yaml.safe_dump(lock))
    return path


@pytest.fixture(scope="session")
def _kubeflow():
    from tests.cloud import kubeflow

    with kubeflow.Server() as server:
        yield server


@pytest.fixture
def kubeflow(_kubeflow, tunnel, monkeypatch, tmp_path):
    """An empty Kubeflow Pipelines server; what waits for it does not wait long. Google's hosts are the tunnel's."""
    from kfp import Client

    from pipelines import kubeflow, submit

    for calls in (kubeflow.CONNECT, kubeflow.LOOK, kubeflow.FOLLOW):
        monkeypatch.setitem(calls, "retry", calls["retry"].with_delay(0.01, 0.01).with_timeout(1))
    monkeypatch.setattr(submit, "POLL", 0)
    # The settings of whoever runs the tests.
    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", _kubeflow.url)
    _kubeflow.reset()
    return _kubeflow
