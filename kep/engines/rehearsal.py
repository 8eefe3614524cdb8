"""A user's own families, tried on this machine before a run: a mistake then costs no machine and no search."""

import importlib.util
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kep.components.ingest.ingest import outline
from kep.config.run_file import RunFile
from kep.core.errors import UserError
from kep.data.schema import Manifest
from kep.data.sources.fingerprint import size
from kep.engines.preflight import MOST_SURVEYED
from kep.models.registry import Spec, family, travelling

if TYPE_CHECKING:
    from kep.data.records import Rows

ROWS = 32
"""Of the batch."""


def rehearse(settings: RunFile, base: Path) -> None:
    """Trains the default model of each of the user's own families for one step, on rows that are made up.

    Where a step of the run trains under XLA, so does this: it refuses shapes that depend on the data, and operations
    that it does not have. It happens in a process of its own; for data that are large, and without TensorFlow on this
    machine, it does not happen.

    Args:
        settings: The run file.
        base: Its folder.

    Raises:
        UserError: The data or a family can't be used.
    """
    families = travelling(settings.search.families, base)
    own = [] if isinstance(families, str) else [spec for spec in families if "source" in spec]
    if not own or size(settings.data, base) > MOST_SURVEYED or importlib.util.find_spec("tensorflow") is None:
        return
    manifest = outline(settings.data, settings.seed, base)
    # The caller imports no TensorFlow, and outlives whatever a user's code does.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            process.submit(_train, own, manifest, _under_xla(settings)).result()
        except BrokenProcessPool:
            raise UserError("search.families: the process that tried the own families on one batch died") from None


def _under_xla(settings: RunFile) -> str | None:
    """What makes a step of the run train under XLA; None where none does."""
    for step in ("tune", "best_epoch", "retrain"):
        asked = getattr(settings.hardware, step)
        if asked.jit == "on":
            return f"hardware.{step}.jit: on"
        if asked.jit == "off":
            continue
        for key, value in (("strategy", "tpu"), ("device", "gpu")):
            if getattr(asked, key, None) == value:
                return f"hardware.{step}.{key}: {value}"
        if asked.machine and asked.machine.accelerator:
            return f"hardware.{step}.machine.accelerator: {asked.machine.accelerator}"
    return None


def _train(own: list[Spec], manifest: Manifest, under_xla: str | None) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TensorFlow's own lines
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    from kep.training.machine import TrainingMachine

    rows = made_up(manifest)
    for spec in own:
        family(spec, manifest).check(rows)
        if under_xla:
            try:
                family(spec, manifest, lambda: TrainingMachine(jit=True)).check(rows)
            except UserError as error:
                raise UserError(f"{under_xla} trains under XLA: {error}") from None


def made_up(manifest: Manifest) -> "Rows":
    """Return rows of zeros, with labels of every class in turn."""
    from dataclasses import replace

    from kep.data.records import blank_row

    rows = blank_row(manifest).take(np.zeros(ROWS, np.int64))
    classes = manifest.label.classes
    return rows if classes is None else replace(rows, labels=np.arange(ROWS) % len(classes))
