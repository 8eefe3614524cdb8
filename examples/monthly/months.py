"""A year of monthly retraining: new rows each month, a drift, a broken export, and each rule of promote at work.

    python examples/monthly/months.py

writes twelve tables, runs the pipeline on each under one name, and prints what was decided, by which rule. The runs lie
in `runs`, with their index in `runs/index.html`. Each run tells its decision to a command, which appends it to
`messages.jsonl` beside them. It takes about five minutes on 2 cores.
"""

import argparse
import csv
import random
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import kep
from kep.engines.local.finished import Finished

ROWS = 600
"""Customers that a month brings."""
MESSAGES = "messages.jsonl"
"""File beside the runs with what each of them told."""
BASE: dict[str, Any] = {
    "name": "monthly",
    "search": {"families": ["boosted_trees"], "max_trials": 2, "max_epochs": 60, "top_n": 1},
    "best_epoch": {"max_epochs": 60, "patience": 10, "seeds": 1},
    "evaluate": {"bootstrap": 500, "slices": ["region"]},
}
"""The run file of every month, but for its data and its rules."""


@dataclass(frozen=True)
class Month:
    """A month's run.

    Attributes:
        told: What is the matter with this month.
        promoted: Whether its ensemble is to become the champion.
        rule: The rule that decides.
        promote: The rules of the month's run file.
        broken: Whether the labels of the export belong to other rows.
        renamed: Whether the export has a column under another name.
        shifted: Whether customers behave differently from before.
    """

    told: str
    promoted: bool
    rule: str
    promote: dict[str, Any] = field(default_factory=dict)
    broken: bool = False
    renamed: bool = False
    shifted: bool = False


MONTHS = [
    Month("the first one", True, "promote.champion"),
    Month("the export mixed up the labels", False, "promote.require.beats", broken=True),
    Month("nothing new", False, "promote.better_by"),
    Month(
        "a bound that nobody reaches",
        False,
        "promote.require.roc_auc",
        {"require": {"roc_auc": 0.999}},
    ),
    Month(
        "a bound for each region",
        False,
        "promote.require.slices.region.accuracy",
        {"require": {"slices": {"region": {"accuracy": 0.999}}}},
    ),
    Month("customers changed, and the champion knows it not", True, "promote.better_by", shifted=True),
    Month("as good as before is enough", True, "promote.not_worse_than", {"not_worse_than": 0.25}, shifted=True),
    Month("not worse, to the last digit", False, "promote.not_worse_than", {"not_worse_than": 0.0001}, shifted=True),
    Month("a column has another name", False, "promote.when_incomparable", renamed=True, shifted=True),
    Month(
        "the new schema is to serve",
        True,
        "promote.when_incomparable",
        {"when_incomparable": "replace"},
        renamed=True,
        shifted=True,
    ),
    Month("by another metric", False, "promote.better_by", {"metric": "roc_auc"}, renamed=True, shifted=True),
    Month(
        "all bounds are met",
        True,
        "promote.not_worse_than",
        {"not_worse_than": 0.25, "require": {"roc_auc": 0.7, "loss": 0.65}},
        renamed=True,
        shifted=True,
    ),
]


def write_month(folder: Path, number: int, month: Month) -> Path:
    """Write a month's customers as CSV.

    Args:
        folder: Folder of the tables.
        number: Number of the month, from 1.
        month: What is the matter with it.
    """
    rng = np.random.default_rng(number)
    usage, age = rng.normal(0, 1, ROWS), rng.integers(18, 80, ROWS)
    region, plan = rng.choice(["north", "south", "west"], ROWS), rng.choice(["basic", "plus"], ROWS)
    # What customers do drifts a little each month; when they change, usage means the opposite.
    effect = -2.5 if month.shifted else 2.5
    logit = effect * usage + 1.5 * (plan == "basic") - 0.75 + 0.02 * number * (region == "west")
    churned = rng.random(ROWS) < 1 / (1 + np.exp(-logit))
    labels = ["yes" if one else "no" for one in churned]
    if month.broken:
        random.Random(number).shuffle(labels)
    path = folder / f"customers-{number:02d}.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["customer", "usage", "age_years" if month.renamed else "age", "region", "plan", "churned"])
        for row in range(ROWS):
            writer.writerow(
                [f"{number:02d}-{row:04d}", f"{usage[row]:.4f}", age[row], region[row], plan[row], labels[row]]
            )
    return path


def run_month(number: int, month: Month, runs: Path) -> Finished:
    """Run the pipeline on a month's customers."""
    source = write_month(runs.parent, number, month)
    data = {"source": str(source.absolute()), "label": "churned", "id": "customer"}
    # In place of a webhook or a topic of Pub/Sub.
    notify = {"command": f"cat >> {shlex.quote(str((runs.parent / MESSAGES).absolute()))}"}
    return kep.run(BASE | {"seed": number, "data": data, "promote": month.promote, "notify": notify}, runs=runs)


def main() -> None:
    """Run the year, and print a line for each month."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    runs = parser.parse_args().runs
    runs.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, month in enumerate(MONTHS, 1):
        verdict = run_month(number, month, runs).verdict
        decided = next((rule for rule in verdict.rules if not rule.held), verdict.rules[-1])
        word = "promoted" if verdict.promoted else "kept"
        lines.append(f"{number:2d}  {word:8s}  {decided.rule:40s}  {month.told}: {verdict.reason}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
