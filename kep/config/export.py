"""Settings of the exports."""

from typing import Annotated

from pydantic import Field

from kep.config.section import Section


class ExportSettings(Section):
    """Limits of `kep export`."""

    max_loss: Annotated[float, Field(ge=0)] = 0.01
    """Largest accepted loss of accuracy on the test rows, or growth of a regression's error. 0.01 is one percentage
    point, or one percent. An export that loses more is not written."""
