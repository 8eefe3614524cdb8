"""The warnings of the report, in one list on the first screen: what may mislead, the gravest first."""

from collections.abc import Iterator

from kep.artifacts.report import Report
from kep.report.sections.words import View, plural

MOST = 8
"""Warnings that are shown at once; the others are folded away."""


def warnings(report: Report, ledger: View, best_epoch: View, steps: View, reproduce: View) -> View:
    """Return the content of the list, from what the other sections found."""
    told = [*_of_run(report, ledger, best_epoch, steps, reproduce), *report.manifest.hints]
    return {"first": told[:MOST], "more": told[MOST:]}


def _of_run(report: Report, ledger: View, best_epoch: View, steps: View, reproduce: View) -> Iterator[str]:
    if not ledger["once"]:
        readers = ", ".join(ledger["readers"]) or "no recorded step"
        yield f"Test rows were not opened once, by evaluate alone, but by {readers}: the test figures may flatter"
    if ledger["openings"] > 1:
        yield (
            f"These very test rows have been opened in {ledger['openings']} runs: the best of several looks flatters; "
            "new rows, or another data.split, would be seen for the first time"
        )
    elif ledger["before"]:
        yield (
            f"{ledger['before']:,} of {report.evaluation.rows:,} test rows were test rows of earlier runs, too: "
            "choices that were made by those runs flatter this one"
        )
    if ledger["foreign"]:
        readers = ", ".join(f"{row['step']} ({row['role']})" for row in ledger["foreign"])
        yield f"Rows of other shards than this run's were read by {readers}"
    compared = report.evaluation.champion
    if compared is not None and compared.problem:
        yield f"The champion was not compared: {compared.problem}"
    told = report.evaluation.why
    if told is not None and told.worse is not None and told.worse.slices:
        many, first = len(told.worse.slices), told.worse.slices[0]
        yield (
            f"The ensemble is significantly worse on {plural(many, 'slice', 'slices')} of the test rows, most where "
            f"{first.column} is {first.value} ({plural(first.rows, 'row', 'rows')}): see Why"
        )
    if best_epoch["capped"]:
        capped = ", ".join(best_epoch["capped"])
        yield f"Trainings of {capped} were stopped by the cap before patience ran out: raise best_epoch.max_epochs"
    if reproduce["mixed"]:
        yield f"Steps ran with different versions of {', '.join(reproduce['mixed'])}"
    if steps["starved"]:
        yield (
            f"Over a fifth of its time waits for rows: {', '.join(steps['starved'])}; faster storage, or fewer and "
            "larger batches, would train faster"
        )
