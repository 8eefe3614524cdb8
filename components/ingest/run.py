"""The step around `ingest`."""

from components.ingest.ingest import ingest
from components.shared.schema import Manifest
from components.shared.settings import DataSettings
from components.shared.step import Step, entry


@entry("ingest")
def run(step: Step, *, config: str, source: str, seed: int, code: str) -> Manifest:
    """Ingests by the data section `config`; `code` only tells cached results apart."""
    return ingest(DataSettings.model_validate_json(config), seed, step.out, scratch=step.work(source))
