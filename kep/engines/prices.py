"""Price lists of Vertex AI: what an hour of a machine costs."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, ValidationError

from kep.core.errors import UserError
from kep.google.machine_types import SHAPES

if TYPE_CHECKING:
    from kep.google.custom_jobs import MachineRequest

PRICES = Path(__file__).with_name("prices.yaml")
"""List that ships."""


class Prices(BaseModel):
    """A price list.

    Attributes:
        date: When the prices were looked up.
        region: Where they hold.
        currency: Currency of all of them.
        run: Price of one run of a pipeline, beside its machines.
        machine_hours: Price of an hour of each machine, with the GPUs that it always has.
        accelerator_hours: Price of an hour of each GPU that is attached to a machine.
        query_tib: Price of 2**40 bytes that a query of BigQuery reads.
    """

    model_config = ConfigDict(extra="forbid")

    date: datetime.date
    region: str
    currency: str
    run: NonNegativeFloat
    machine_hours: dict[str, NonNegativeFloat]
    accelerator_hours: dict[str, NonNegativeFloat] = {}
    query_tib: NonNegativeFloat | None = None

    def of(self, name: str, accelerator: str | None, count: int) -> float | None:
        """An hour of a machine type with the GPUs that are attached to it; None without a price."""
        hour = self.machine_hours.get(name)
        if hour is None or not accelerator or (name in SHAPES and not SHAPES[name].attached):
            return hour
        each = self.accelerator_hours.get(accelerator)
        return None if each is None else hour + count * each

    def of_place(self, place: "MachineRequest") -> float | None:
        """An hour of all machines of a custom job, as if they were neither Spot nor Flex-Start, which cost less."""
        hour = self.of(place.type, place.accelerator.lower().replace("_", "-"), place.accelerators)
        return None if hour is None else place.machines * hour


def load(path: Path | None = None) -> Prices:
    """Reads a price list; the one that ships where none is given.

    Raises:
        UserError: It is none.
    """
    path = path or PRICES
    try:
        return Prices.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"--prices: {path} can't be read as YAML; copy kep/engines/prices.yaml and edit it") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"--prices: {path}: {key}: {first['msg'].lower()}; see kep/engines/prices.yaml") from error
