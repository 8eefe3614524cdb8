"""The commands of a rollout for a folder of champions: one version serves, the one that its pointer names."""

import time

from rich.console import Console
from rich.table import Table

from kep.core.errors import UserError
from kep.delivery.rollout.canary import CanaryLimits, Side, check_labels, checks, tables
from kep.engines.progress import say
from kep.storage import champions


def advance(folder: str, version: str, data: str, rows: int, limits: CanaryLimits, console: Console) -> int:
    """Checks a version of a folder of champions against the champion, in this process, and moves the pointer to it.

    Returns:
        Exit status: 0, or 1 when it stays where it is.

    Raises:
        UserError: There is no such version, the data can't be used, or the folder can't be written.
    """
    pointer = champions.read(folder)
    known = champions.versions(folder)
    if version not in known:
        raise UserError(f"--version: {folder} holds no version {version}; there are {', '.join(known) or 'none'}")
    if pointer.version == version:
        say(console, f"version {version} is the champion already")
        return 0
    if pointer.champion is not None and pointer.version is not None:
        from kep.models.ensemble import Ensemble

        with (
            champions.opened(pointer.champion) as one,
            champions.opened(champions.version_folder(pointer.folder, version)) as other,
        ):
            ensembles = [Ensemble(one), Ensemble(other)]
            sides = (Side(), Side())
            for number, table in enumerate(tables(data, ensembles[0].manifest.inputs, rows)):
                for ensemble, side in zip(ensembles, sides, strict=True):
                    if number == 0:
                        ensemble.predict(table)  # compiles
                    begun = time.perf_counter()
                    side.predictions[number] = ensemble.predict(table)
                    side.seconds.append(time.perf_counter() - begun)
            check_labels(ensembles[0].manifest, ensembles[1].manifest)
            names = (pointer.version, version)
            line, problems = checks(ensembles[0].manifest, sides, names, limits)
        say(console, line)
        if problems:
            say(console, f"error: version {version} does not become the champion: {'; '.join(problems)}")
            return 1
    _point(pointer, version, "rolled out", pointer.version)
    say(
        console,
        f"version {version} is the champion; a server that runs serves what it has loaded until it is restarted",
    )
    return 0


def rollback(folder: str, console: Console) -> None:
    """Moves the pointer of a folder of champions back to the version that the champion has replaced.

    Raises:
        UserError: There is none, or the folder can't be written.
    """
    pointer = champions.read(folder)
    before = pointer.promotion and pointer.promotion.replaced
    if before is None or before not in champions.versions(folder):
        raise UserError(f"--champions: in {folder} no version is known that the champion has replaced")
    _point(pointer, before, f"rolled back from {pointer.version}", None)
    say(console, f"version {before} is the champion again, and no more {pointer.version}")


def status(folder: str) -> Table:
    """The versions of a folder of champions, and which one its pointer names.

    Raises:
        UserError: There are none, or it can't be read.
    """
    pointer, known = champions.read(folder), champions.versions(folder)
    if not known:
        raise UserError(f"--champions: {folder} holds no champions; give the folder that a run promotes into")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("version", "", "because"):
        table.add_column(column, no_wrap=True)
    for version in known:
        own = pointer.promotion if version == pointer.version else None
        table.add_row(version, "champion" if own else "", own.reason if own else "")
    return table


def _point(pointer: champions.Pointer, version: str, reason: str, replaced: str | None) -> None:
    if not champions.point(pointer, champions.Promotion(version=version, reason=reason, replaced=replaced)):
        raise UserError(
            f"--champions: another version became champion in {pointer.folder} at the same moment; look again"
        )
