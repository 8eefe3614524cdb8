"""Pipelines that turn a run file and a data set into an evaluated ensemble of Keras models.

    import kep

    done = kep.run("churn.yaml", search={"max_trials": 6})
    model = kep.load("churn")
    model.predict({"months": 3, "plan": "basic"})
    model.explain().importance
    kep.compare("churn@previous", "churn").sentence

Importing this package loads neither TensorFlow nor a client of Google's; the functions do.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kep.delivery.model import Model
    from kep.engines.local.finished import Finished
    from kep.engines.local.history import LocalRun
    from kep.report.comparison import Comparison

__all__ = ["compare", "load", "run", "runs"]


def load(model: str | Path, runs: str | Path = "runs") -> "Model":
    """Load a champion, or another ensemble.

    Args:
        model: A run file's name for its champion, a run's folder, a folder of champions, or an ensemble's folder; the
            latter two also on gs://.
        runs: Folder of all runs.

    Raises:
        UserError: There is no such model, or it is damaged.
    """
    from kep.delivery.model import Model

    return Model(model, runs)


def run(file: str | Path | Mapping[str, Any], runs: str | Path = "runs", **overrides: Any) -> "Finished":
    """Run the whole pipeline on this machine, as `kep run` does.

    Args:
        file: A run file, or its content; relative paths in the content start from the working folder.
        runs: Folder of all runs.
        overrides: Sections or keys that replace or extend the file's: `seed=3, search={"max_trials": 6}`.

    Returns:
        The finished run, whether its ensemble was promoted or not.

    Raises:
        UserError: The run can't start, or a step found a mistake in what was given.
        RunError: A step failed.
    """
    from kep.engines.local.finished import run as run_to_its_end

    return run_to_its_end(file, Path(runs), overrides)


def runs(folder: str | Path = "runs", name: str | None = None) -> "list[LocalRun]":
    """List the runs of this machine, the newest first; one that can't be read says so.

    Args:
        folder: Folder of all runs.
        name: Name of a run file, for its runs alone.

    Raises:
        UserError: There is no such folder, or no such run in it.
    """
    from kep.engines.local.history import check_known, history

    check_known(Path(folder), name)
    return history(Path(folder), name)


def compare(old: str | Path, new: str | Path, runs: str | Path = "runs") -> "Comparison":
    """Say whether a run is better than another, and what differs between them.

    Args:
        old: Older run: a folder, a name for its latest run, NAME/RUN, NAME@champion or NAME@previous.
        new: Newer run, in the same words.
        runs: Folder of all runs.

    Raises:
        UserError: A run is not there or not whole, or both are the same one.
    """
    from kep.engines.local.compare import comparison

    return comparison(str(old), str(new), Path(runs))
