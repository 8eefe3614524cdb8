"""Parameters of one of several ingest tasks."""

from kep.core.json_model import JsonModel


class IngestPart(JsonModel):
    """A part of the source, which one task reads."""

    part: int
    """Number of the part, from 0."""
