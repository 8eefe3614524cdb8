"""A user's own families, tried on this machine before a run: a mistake then costs no machine and no search."""

import importlib.util
import logging
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from pathlib import Path

from kep.components.ingest.ingest import outline
from kep.config.hardware import HardwareSettings
from kep.config.run_file import RunFile
from kep.core.errors import UserError
from kep.data.records import made_up
from kep.data.schema import Manifest
from kep.data.sources.fingerprint import size
from kep.models.registry import Spec, family, travelling
from kep.runtime.hardware import one_device

MOST_SURVEYED = 100e6
"""Bytes of a source that is read once more before a run, so that a mistake shows before anything has started."""
TRAINING = ("tune", "best_epoch", "retrain")
"""Steps that train."""
OWN_PROCESS: BaseContext = multiprocessing.get_context("spawn")
"""How the process of a rehearsal is started: with nothing of its caller."""


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
    with _said_before():
        manifest = outline(settings.data, settings.seed, base)
    # The caller imports no TensorFlow, and outlives whatever a user's code does.
    with ProcessPoolExecutor(1, OWN_PROCESS) as process:
        try:
            process.submit(_train, own, manifest, settings.hardware).result()
        except BrokenProcessPool:
            raise UserError("search.families: the process that tried the own families on one batch died") from None


@contextmanager
def _said_before() -> Iterator[None]:
    """Keep what ingest warns of out of the log: whoever rehearses has surveyed the data."""
    log = logging.getLogger("kep.ingest")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _under_xla(hardware: HardwareSettings) -> str | None:
    """Return the setting that makes a step train under XLA; None where none does."""
    for step in TRAINING:
        asked = getattr(hardware, step)
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


def _train(own: list[Spec], manifest: Manifest, hardware: HardwareSettings) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # TensorFlow's own lines
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    from kep.training.machine import TrainingMachine

    rows, under_xla = made_up(manifest), _under_xla(hardware)
    for spec in own:
        try:
            member = family(spec, manifest)
            if not member.looped:
                for step in TRAINING:
                    one_device(f"hardware.{step}", getattr(hardware, step), member.name)
            member.check(rows)
            if under_xla:
                try:
                    family(spec, manifest, lambda: TrainingMachine(jit=True)).check(rows)
                except UserError as error:
                    raise UserError(f"{under_xla} trains under XLA: {error}") from None
        except SystemExit:
            raise UserError(
                f"search.families: {spec['name']} ends its process (sys.exit); let it raise an error, or return a model"
            ) from None
