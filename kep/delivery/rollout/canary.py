"""The same requests to a new version and to the champion: errors, times and predictions, held against limits."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from kep.components.predict.read import chunks, open_for
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.core.files import scratch_folder
from kep.data.schema import Column, Manifest
from kep.delivery.rollout.endpoints import Deployed, Predictor, manifest_of
from kep.google.vertex import Vertex
from kep.stats.divergence import compare
from kep.stats.observed import predicted_bins

if TYPE_CHECKING:
    from google.cloud import aiplatform_v1 as api

REQUEST = 50
"""Rows of a request."""
_MET = 1e-4
"""Probability that a version that answers is not met by the requests that are sent for it."""
_ENOUGH = 5
"""Errors that end the checks before their last request."""


@dataclass(frozen=True)
class CanaryLimits:
    """Limits of how far a version may differ from the champion, on the same requests.

    Attributes:
        errors: Share of its requests that are not answered.
        slowdown: 95th percentile of its times, as a multiple of the champion's.
        drift: Population stability index of its predictions.
        fast: Seconds that are never too long: a few milliseconds more say more of the machine than of the version.
    """

    errors: float = 0.01
    slowdown: float = 2.0
    drift: float = 0.2
    fast: float = 0.1


@dataclass
class Side:
    """Answers of a version to the requests of the checks.

    Attributes:
        seconds: Seconds of each answer.
        predictions: Predictions of each request, by its number: [rows, classes] or [rows].
        errors: Requests that were not answered.
        problem: The last error.
    """

    seconds: list[float] = field(default_factory=list)
    predictions: dict[int, np.ndarray] = field(default_factory=dict)
    errors: int = 0
    problem: str = ""

    @property
    def error_rate(self) -> float:
        return self.errors / max(1, self.errors + len(self.seconds))

    @property
    def p95(self) -> float:
        """Seconds."""
        return float(np.percentile(self.seconds, 95)) if self.seconds else float("inf")


def ask_both(
    vertex: Vertex,
    endpoint: "api.Endpoint",
    champion: Deployed,
    canary: Deployed,
    data: str,
    rows: int,
    limits: CanaryLimits,
    console: Console,
) -> tuple[str, list[str]]:
    """Sends rows as requests until both versions have answered each of them.

    An endpoint chooses a version by its traffic split and says in an answer which one it was; so a request is sent
    again until both have answered it. What `checks` gives is returned.
    """
    predictor = Predictor(vertex, endpoint)
    manifest = manifest_of(vertex, champion.model, champion.version)
    sides = {champion.id: Side(), canary.id: Side()}
    tries = max(champion.tries(_MET), canary.tries(_MET))
    shown = [TextColumn("{task.completed:,} rows checked"), SpinnerColumn()]
    with Progress(*shown, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("")
        bodies = (
            (body, many) for table in tables(data, predictor.columns, rows) for body, many in predictor.bodies(table)
        )
        for number, (body, many) in enumerate(bodies):
            _replay(predictor, number, body, sides, canary.id, tries)
            progress.update(task, advance=many)
            if sides[canary.id].errors >= _ENOUGH and sides[canary.id].error_rate > limits.errors:
                break
    both = (sides[champion.id], sides[canary.id])
    return checks(manifest, both, (champion.version, canary.version), limits)


def checks(
    manifest: Manifest, sides: tuple[Side, Side], versions: tuple[str, str], limits: CanaryLimits
) -> tuple[str, list[str]]:
    """Compare the answers of a version with the champion's: return a line of figures, and the problems.

    Args:
        manifest: Manifest of either.
        sides: Answers of the champion, and of the version.
        versions: Their names.
        limits: Limits that the version must keep.
    """
    champion, canary = sides
    both = sorted(champion.predictions.keys() & canary.predictions.keys())
    problems = []
    if canary.error_rate > limits.errors:
        problems.append(f"errors {canary.error_rate:.1%} ({canary.problem}), at most {limits.errors:.1%} are allowed")
    if not both:
        never = next((name for name, side in zip(versions, sides, strict=True) if not side.predictions), versions[1])
        return f"version {never} has answered none of the requests", problems or [f"version {never} does not answer"]
    if canary.p95 > max(limits.slowdown * champion.p95, limits.fast):
        problems.append(f"its p95 is more than {limits.slowdown:g} times that of version {versions[0]}")
    before, after = (np.concatenate([side.predictions[number] for number in both]) for side in sides)
    bins = predicted_bins(manifest, before)
    shifts = [compare(one.name, "prediction", one.bins, one.before, one.count(after), len(bins)) for one in bins]
    largest = max(shifts, key=lambda shift: shift.psi)
    problems += [
        f"{shift.name} has drifted by {shift.psi:.3g}, beyond {limits.drift:g}"
        for shift in shifts
        if shift.beyond(limits.drift)
    ]
    line = (
        f"{len(before):,} rows by version {versions[1]} against {versions[0]}: errors {canary.error_rate:.1%}, "
        f"p95 {canary.p95 * 1000:.0f} against {champion.p95 * 1000:.0f} ms, drift {largest.psi:.2g}"
    )
    return line, problems


def tables(data: str, columns: list[Column], rows: int) -> Iterator[dict[str, pa.Array]]:
    """The first rows of a source, as many at a time as a request of the checks has.

    Raises:
        UserError: The source can't be read, lacks a column, or has no rows.
    """
    with scratch_folder() as scratch:
        source = open_for(columns, DataSettings(source=data), scratch)
        none = True
        for table in islice(chunks(source, [column.name for column in columns], REQUEST), -(-rows // REQUEST)):
            none = False
            yield table
        if none:
            raise UserError(f"--check-data: there are no rows in {data}")


def check_labels(before: Manifest, after: Manifest) -> None:
    """Refuse versions that predict different labels.

    Raises:
        UserError: The task or the classes differ.
    """
    if (before.label.task, before.label.classes) != (after.label.task, after.label.classes):
        raise UserError("--version: this version predicts another label than the champion")


def _replay(predictor: Predictor, number: int, body: bytes, sides: dict[str, Side], canary: str, tries: int) -> None:
    """Sends one request until both versions have answered it, or one of them is not to be met."""
    waiting = set(sides)
    for _ in range(tries):
        answer = predictor.ask(body)
        if answer.predictions is None:
            # An error does not say which version made it: the new one is to blame.
            sides[canary].errors += 1
            sides[canary].problem = answer.problem
            if sides[canary].errors >= _ENOUGH:
                return
        elif answer.by in sides:
            sides[answer.by].seconds.append(answer.seconds)
            sides[answer.by].predictions.setdefault(number, answer.predictions)
            waiting.discard(answer.by)
        if not waiting:
            return
