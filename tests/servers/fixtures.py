"""Local stand-ins for Google's services, as fixtures of all tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.helpers.files import edited
from tests.helpers.paths import DATA
from tests.servers import contracts
from tests.servers import gcs as storage
from tests.servers.receiver import Receiver
from tests.servers.tunnel import Tunnel


@pytest.fixture(autouse=True)
def _answers_are_googles() -> Iterator[None]:
    """What servers of the tests have answered is what Google's definitions know."""
    contracts.BROKEN.clear()
    yield
    assert contracts.BROKEN == []


@pytest.fixture
def gcs(monkeypatch) -> Iterator[storage.Server]:
    """A server with the bucket "data", which Google's clients in this process and its children use."""
    with storage.Server("data") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


@pytest.fixture
def receiver(monkeypatch) -> Iterator[Receiver]:
    """A webhook and Pub/Sub that tell what they were told; who waits to tell again does not wait."""
    from kep.runtime import notify

    monkeypatch.setattr(notify, "PAUSE", 0)
    with Receiver() as server:
        monkeypatch.setenv("KEP_TEST_WEBHOOK", server.url)
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        yield server


@pytest.fixture(scope="session")
def _behind(tmp_path_factory):
    """The tunnel and what stands behind it: one for all tests, since gRPC reads its authorities once in a process."""
    from tests.servers import registry, tensorboards, vertex, vertex_jobs, vizier

    with Tunnel(tmp_path_factory.mktemp("tunnel")) as tunnel:
        runs = vertex.Server(tunnel)
        jobs, studies, instances = vertex_jobs.Jobs(runs), vizier.Studies(runs), tensorboards.Boards(runs)
        with runs, registry.Server(tunnel) as templates:
            yield tunnel, runs, jobs, studies, instances, templates


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
    from kep.delivery import batch_job
    from kep.engines import submit
    from kep.google import retries, vertex

    monkeypatch.setattr(batch_job, "POLL", 0)
    for calls in (vertex.CHANGE, vertex.LOOK, vertex.FOLLOW, retries.STORAGE):
        monkeypatch.setitem(calls, "retry", calls["retry"].with_delay(0.01, 0.01).with_timeout(1))
    monkeypatch.setitem(vertex.ENDED, "retry", vertex.ENDED["retry"].with_delay(0.01, 0.01).with_timeout(1))
    monkeypatch.setitem(vertex.ENDED, "polling", vertex.ENDED["polling"].with_delay(0.01, 0.01))
    monkeypatch.setattr(submit, "POLL", 0)
    _, server, *_ = _behind
    server.reset()
    return server


@pytest.fixture
def jobs(_behind, vertex, monkeypatch, tmp_path):
    """The custom jobs of that Vertex AI: none."""
    from kep.google import launch

    monkeypatch.setattr(launch, "POLL", 0.02)
    _, _, service, *_ = _behind
    (tmp_path / "mounted").mkdir()
    service.reset(tmp_path / "mounted")
    yield service
    service.reset(tmp_path)


@pytest.fixture
def studies(_behind, vertex, monkeypatch):
    """The studies of that Vertex AI: none."""
    from kep.components.tune import vizier

    monkeypatch.setitem(vizier.RETRY, "retry", vizier.RETRY["retry"].with_delay(0.01, 0.01).with_timeout(1))
    *_, service, _, _ = _behind
    service.reset()
    return service


@pytest.fixture
def boards(_behind, vertex, monkeypatch):
    """The TensorBoard instances of that Vertex AI: one, `INSTANCE`, without experiments."""
    from kep.google import tensorboards as board

    monkeypatch.setitem(board.CALLS, "retry", board.CALLS["retry"].with_delay(0.01, 0.01).with_timeout(1))
    *_, service, _ = _behind
    service.reset("projects/shop-ml/locations/europe-west4/tensorboards/42")
    return service


@pytest.fixture
def registry(_behind, tunnel):
    """An empty repository of templates, in every project."""
    *_, server = _behind
    server.reset()
    return server


@pytest.fixture(scope="session")
def _bigquery(_behind):
    from tests.servers import bigquery

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
    from tests.servers import kubeflow

    with kubeflow.Server() as server:
        yield server


@pytest.fixture
def kubeflow(_kubeflow, tunnel, monkeypatch, tmp_path):
    """An empty Kubeflow Pipelines server; what waits for it does not wait long. Google's hosts are the tunnel's."""
    from kfp import Client

    from kep.engines import submit
    from kep.engines.kubeflow import engine as kubeflow

    for calls in (kubeflow.CONNECT, kubeflow.LOOK, kubeflow.FOLLOW):
        monkeypatch.setitem(calls, "retry", calls["retry"].with_delay(0.01, 0.01).with_timeout(1))
    monkeypatch.setattr(submit, "POLL", 0)
    # The settings of whoever runs the tests.
    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", _kubeflow.url)
    _kubeflow.reset()
    return _kubeflow


@pytest.fixture(scope="session")
def churn_versions(ensembles, tmp_path_factory) -> dict[str, Path]:
    """Ensembles for churn's rows: one, one that predicts nearly the same, and one that predicts something else."""
    one = ensembles("churn", "mlp", "boosted_trees")
    alike = tmp_path_factory.mktemp("alike") / "ensemble"
    shutil.copytree(one, alike)
    with edited(alike / "ensemble.json") as content:
        for member, weight in zip(content["members"], (0.699, 0.301), strict=True):
            member["weight"] = weight
    return {"one": one, "alike": alike, "other": ensembles("churn", "boosted_trees")}


@pytest.fixture
def registered(vertex, gcs, churn_versions):
    """Function that makes versions of the model `churn` in the Model Registry from `churn_versions`, in that order."""
    from google.cloud import aiplatform_v1 as api

    from kep.storage.champions import content_version
    from tests.helpers.storage import upload

    def of(*names: str) -> list[api.Model]:
        for name in names:
            version = content_version(churn_versions[name])
            upload(gcs, churn_versions[name], f"champions/churn/versions/{version}/")
            spec = api.ModelContainerSpec(
                image_uri="registry/serve@sha256:1", predict_route="/predict", health_route="/health"
            )
            uri = f"gs://data/champions/churn/versions/{version}"
            labels = {"kep_version": version}
            model = api.Model(display_name="churn", container_spec=spec, artifact_uri=uri, labels=labels)
            parent = "projects/shop-ml/locations/europe-west4"
            known = f"{parent}/models/kep-churn"
            place = {"parent_model": known} if known in vertex.models.versions else {"model_id": "kep-churn"}
            vertex.models.upload(api.UploadModelRequest(parent=parent, model=model, **place))
        return vertex.models.versions[known]

    return of


@pytest.fixture
def serving(vertex, registered):
    """Function that lets the endpoint `churn` serve versions by shares; returns the ids of the deployed models."""
    from google.cloud import aiplatform_v1 as api

    def of(**shares: int) -> list[str]:
        models = registered(*shares)
        vertex.models.serve(*models)
        parent = "projects/shop-ml/locations/europe-west4"
        name = f"{parent}/endpoints/churn"
        ids = [str(number) for number in range(1, len(models) + 1)]
        vertex.models.endpoints[name] = api.Endpoint(
            name=name,
            display_name="churn",
            create_time=vertex.now(),
            deployed_models=[
                api.DeployedModel(id=id, model=model.name, model_version_id=model.version_id)
                for id, model in zip(ids, models, strict=True)
            ],
            traffic_split=dict(zip(ids, shares.values(), strict=True)),
        )
        return ids

    return of
