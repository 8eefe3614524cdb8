"""Families as tests make them."""

import json

from kep.models.registry import family, travelling
from kep.runtime.step import Step
from kep.training.checkpoints import Checkpoints
from kep.training.monitor import StepMonitor


def defaults(member) -> dict:
    return dict(member.space().values)


def made(own, function, manifest):
    (spec,) = travelling([f"own.py:{function}"], own)
    return family(json.loads(json.dumps(spec)), manifest)


class Alone:
    """An ensemble of one member, as the exports see it."""

    pooling = "arithmetic"
    calibration = None

    def __init__(self, manifest, model) -> None:
        self.manifest, self.models = manifest, [(None, model)]
        self.members = [type("Member", (), {"id": "own-000", "weight": 1.0})]


class Interrupting(StepMonitor):
    """Wants a checkpoint after each call, and ends the training after some."""

    def __init__(self, kept: Checkpoints, calls: int) -> None:
        super().__init__(Step("best_epoch"), "", checkpoints=kept)
        self._calls = calls

    def due(self) -> bool:
        self._calls -= 1
        self._stop = self._calls == 0
        return True
