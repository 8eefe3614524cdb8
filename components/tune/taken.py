"""Candidates of an earlier search, taken as they are: no trial is trained."""

import shutil
from pathlib import Path

from kep.artifacts import earlier
from kep.artifacts.trials import TrialStore
from kep.components.tune.summary import write_summary
from kep.config.search import EarlierSearch
from kep.core.errors import UserError
from kep.data.schema import Manifest
from kep.runtime.step import Step

_WHERE = "search.from"


def take(step: Step, given: EarlierSearch | str, manifest: Manifest, families: list[str]) -> list[str]:
    """Copy an earlier study with its records, which the report shows, and return its candidates.

    Args:
        step: This execution.
        given: The earlier search.
        manifest: Manifest of today's records.
        families: Names of the families.

    Returns:
        JSON of one `Candidate` each.

    Raises:
        UserError: The run file names a run that nobody has looked for, or the search does not fit or is damaged.
    """
    if isinstance(given, str):
        raise UserError(f'{_WHERE}: "{given}" was not looked for when the pipeline was compiled; use kep run or submit')
    classes = sorted(str(name) for name in manifest.label.classes or [])
    earlier.check_label(given, manifest.label.task, classes, _WHERE)
    earlier.check_families(given, families, _WHERE)
    with earlier.opened(given.study, _WHERE) as folder:
        study = earlier.check(folder, given, _WHERE)
        earlier.check_roles(study, given.run, manifest.split, _WHERE)
        TrialStore(folder).finished(study.executions)
        shutil.copytree(folder / "trials", Path(step.out) / "trials")
    study.model_copy(update={"origin": given}).save(step.out)
    write_summary(step.out)
    same = study.data is not None and study.data.records == manifest.fingerprint
    rows = "the same rows" if same else "other rows, so that the scores of its trials say nothing of these"
    step.progress(f"{len(study.candidates)} candidates of the search of {given.run}, on {rows}; no trial is trained")
    return [candidate.to_json() for candidate in study.candidates]
