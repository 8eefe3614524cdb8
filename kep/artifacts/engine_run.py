"""A run as the engine names it that runs it in the cloud."""

from kep.core.json_model import JsonModel


class EngineRun(JsonModel):
    """Values that the engine fills in for a task; all are empty on this machine."""

    job: str = ""
    """Resource name on Vertex AI, or name of the workflow on Kubeflow."""
    name: str = ""
    """Name that `kep status` takes."""
    id: str = ""
    """Id in the address of the run's page on Kubeflow."""
    server_image: str = ""
    """Image by digest that serves a winner, where the Model Registry is to have it."""
