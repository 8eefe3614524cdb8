"""A run's ensemble behind HTTP, on this machine or in the image `serve`."""

import json
import re
from pathlib import Path

from rich.console import Console

from kep.core.errors import UserError
from kep.delivery.models import opened
from kep.delivery.serving.app import ServerLimits
from kep.delivery.serving.describe import example
from kep.delivery.serving.model import Model
from kep.delivery.serving.server import Address
from kep.delivery.serving.server import serve as serve_model


def serve(
    run: str, runs: Path, name: str | None, version: int, limits: ServerLimits, place: Address, console: Console
) -> None:
    """Serves until the process is told to end; prints a request that works.

    Args:
        run: A run's name or folder, a folder of champions, or an ensemble's folder, the latter two also on gs://.
        runs: Folder of all runs.
        name: Name of the model in paths; that of the run when not given.
        version: Version of the model in paths.
        limits: Limits of the server.
        place: Where it listens.
        console: Where to say how to ask.

    Raises:
        UserError: There is no such model, a name or route is no part of a path, or the address can't be listened on.
    """
    name = name or _name(run)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f'--name: "{name}" can\'t stand in a path; use letters, digits, dots, dashes and underscores')
    for option, route in (("--health-route", place.health), ("--predict-route", place.predict)):
        if not route.startswith("/"):
            raise UserError(f'{option}: "{route}" is not a path; begin it with /')
    with opened(run, runs) as (folder, _):
        model = Model(folder, name, version, limits.rows)

        def listening(port: int) -> None:
            host = "127.0.0.1" if place.host == "0.0.0.0" else place.host
            body = json.dumps({"instances": [example(model.manifest)]}).replace("'", "'\\''")
            address = f"http://{host}:{port}"
            console.print(
                f"serving {folder} at {address}, documented at {address}/docs\n\n"
                f"curl {address}/v1/models/{name}:predict -d '{body}'\n",
                soft_wrap=True,
            )

        serve_model(model, limits, place, listening)


def _name(run: str) -> str:
    """The last part of a path that a person named: not `latest`, nor what every run calls its ensemble."""
    parts = [part for part in run.rstrip("/").split("/") if part not in ("ensemble", "latest", "..", ".", "gs:", "")]
    return parts[-1] if parts else "model"
