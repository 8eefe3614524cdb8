"""An ensemble on gs://, where Vertex AI lays it for a container, is served as a local one is."""

import shlex
import subprocess

import pytest
import requests
from rich.console import Console

from kep.core.errors import UserError
from kep.delivery.serving.app import ServerLimits
from kep.delivery.serving.command import serve
from kep.delivery.serving.server import Address
from tests.helpers.commands import command, environment
from tests.helpers.storage import upload


def test_an_ensemble_is_downloaded_and_served(gcs, ensembles):
    upload(gcs, ensembles("churn", "mlp", "boosted_trees"), "models/churn/")
    vertex = {"AIP_STORAGE_URI": "gs://data/models/churn", "AIP_HTTP_PORT": "0", "AIP_PREDICT_ROUTE": "/v1/e:predict"}
    process = subprocess.Popen(
        command("serve"), env=environment() | vertex, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        lines = iter(process.stdout.readline, "")
        _, url, _, body = shlex.split(next(line for line in lines if line.startswith("curl ")))
        assert url.endswith("/v1/models/churn:predict")
        assert any('"ready"' in line for line in lines)
        address = url.partition("/v1/")[0]
        assert requests.get(f"{address}/health", timeout=60).status_code == 200
        assert len(requests.post(f"{address}/v1/e:predict", body, timeout=60).json()["predictions"]) == 1
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("gs://data/models/chrn", '"gs://data/models/chrn" does not exist; did you mean "churn"?'),
        ("gs://data/models", '"gs://data/models" holds no ensemble.json; give the folder of an ensemble or of'),
        ("gs://nowhere/models", 'bucket "nowhere" does not exist; check "gs://nowhere/models"'),
    ],
)
def test_an_ensemble_that_is_not_there_is_one_sentence(gcs, tmp_path, location, message):
    gcs.put("data", "models/churn/manifest.json", b"{}")
    with pytest.raises(UserError) as caught:
        serve(location, tmp_path, None, 1, ServerLimits(), Address(), Console(quiet=True))
    assert str(caught.value).startswith(message)
