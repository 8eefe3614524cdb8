"""Settings of the promotion."""

from typing import Annotated

from pydantic import Field

from kep.config.section import Section, Switch


class PromoteSettings(Section):
    """Rules for replacing the champion."""

    champion: str | None = None
    """Folder whose `champion` pointer names the ensemble to beat; champions/<name> beside the runs when not given."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """Least decrease of the test loss against the champion, beyond the interval of the difference."""
    registry: Annotated[Switch, Field(exclude_if=lambda on: not on)] = False
    """Whether a run on Vertex AI makes what it promotes a version in the Model Registry, for `kep rollout`."""
