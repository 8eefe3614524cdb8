"""The base of the sections of a run file. Each section travels to its steps as one JSON string.

The docstring under a field is its documentation: `kep init` writes it as the comment of the example run file.
"""

import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Epochs = Annotated[int, Field(ge=1, le=1_000_000)]
Switch = Annotated[bool, Field(strict=False)]
"""true or false; yes, no, on and off mean the same where nothing else can be meant."""


class Section(BaseModel):
    """A section: unknown keys are refused, values are not coerced from other types."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        serialize_by_alias=True,  # a key may be a word that Python keeps for itself
    )

    def to_json(self) -> str:
        """The section as one line of JSON with sorted keys: equal settings give equal bytes, so one cache key."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)
