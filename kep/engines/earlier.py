"""Where the candidates of a run come from, if from the search of an earlier one: found when the run starts."""

from collections.abc import Callable, Iterable
from pathlib import Path

from kep.artifacts import earlier
from kep.artifacts.report import Report
from kep.artifacts.run import LatestRun
from kep.artifacts.study import Study
from kep.config.run_file import RunFile
from kep.config.search import EarlierSearch
from kep.core.errors import UserError
from kep.core.location import Location
from kep.models.registry import automatic, travelling

KEYS = {earlier.CANDIDATES: "from_run", earlier.RECORDS: "warm_start"}
"""Fields of the search that name an earlier one, by their keys in the run file."""
Find = Callable[[str, str], EarlierSearch]
"""Finds the study of a run by what the run file says, and the key that says it."""


def resolved(settings: RunFile, base: Path, find: Find) -> RunFile:
    """Return the run file with the study that `search.from` or `search.warm_start` means, as it is now.

    Args:
        settings: The run file.
        base: Its folder.
        find: Finds a study.

    Raises:
        UserError: There is no such run, its study is damaged, or it does not fit the families.
    """
    for where, name in KEYS.items():
        given = getattr(settings.search, name)
        if given is None:
            continue
        if isinstance(given, EarlierSearch):
            # As the record of an earlier run has it: that very study, or none.
            with earlier.opened(given.study, where) as folder:
                earlier.check(folder, given, where)
            continue
        found = find(given, where)
        families = travelling(settings.search.families, base)
        # What auto means, only the data say: check_data.
        if not isinstance(families, str):
            earlier.check_families(found, [spec["name"] for spec in families], where)
        settings = settings.model_copy(update={"search": settings.search.model_copy(update={name: found})})
    return settings


def check_data(settings: RunFile, task: str, classes: Iterable[object], images: bool) -> None:
    """Refuse a search that does not fit the data.

    Args:
        settings: The run file, resolved.
        task: Task of the label.
        classes: Its classes; none for a regression.
        images: Whether the features are images.

    Raises:
        UserError: It was for another label, or for families that these data don't have.
    """
    for where, given in named(settings).items():
        earlier.check_label(given, task, sorted(str(name) for name in classes), where)
        if settings.search.families == "auto":
            earlier.check_families(given, [spec["name"] for spec in automatic(images)], where)


def named(settings: RunFile) -> dict[str, EarlierSearch]:
    """Return the earlier searches that a resolved run file names, by key."""
    found = {where: getattr(settings.search, name) for where, name in KEYS.items()}
    return {where: given for where, given in found.items() if isinstance(given, EarlierSearch)}


def in_cloud(run: str, where: str) -> EarlierSearch:
    """Return the study of a run on gs://: its folder, that of its name for the latest run, or that of a study itself.

    Raises:
        UserError: It is on this machine, where no step of the cloud reaches it, or there is none.
    """
    from kep.google import objects

    if not Location(run).is_cloud:
        raise UserError(
            f"{where}: {run} is on this machine, where no step in the cloud reaches it; give the gs:// folder of a "
            "run, such as gs://BUCKET/runs/NAME of `kep run --runs gs://BUCKET/runs`"
        )
    address = run.rstrip("/")
    latest, _ = objects.read(f"{address}/{LatestRun.FILE}", where)
    if latest is not None:
        address = f"{address}/{LatestRun.from_json(latest, address).run}"
    study, name = address, address.removeprefix("gs://").partition("/")[2]
    if objects.read(f"{address}/{Study.FILE}", where)[0] is None:
        content, _ = objects.read(f"{address}/{Report.FILE}", where)
        if content is None:
            raise UserError(f"{where}: there is no finished run in {run}; give the folder of one, or of its study")
        study = _study_in(f"{address.rpartition('/')[0]}/store", Report.from_json(content, address).study, where)
    with earlier.opened(study, where) as folder:
        return earlier.described(folder, "/".join(name.split("/")[-2:]), study, where)


def _study_in(store: str, wanted: Study, where: str) -> str:
    """Return the folder in a store on gs:// that holds a study.

    Raises:
        UserError: There is none any more.
    """
    from kep.google import objects

    for blob in objects.find(f"{store}/", lambda name: name.endswith(f"/{Study.FILE}"), where):
        place = f"gs://{blob.bucket.name}/{blob.name}"
        content, _ = objects.read(place, where)
        if content is not None and Study.from_json(content, place) == wanted:
            return place.removesuffix(f"/{Study.FILE}")
    raise UserError(f"{where}: the study of this run is not in {store} any more; run it again")
