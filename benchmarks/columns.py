"""What reading dates, amounts and texts is worth, on a table of orders that depends on all three.

    python -m benchmarks.columns [--seeds N] [--rows N]

Prints a Markdown table: the log-loss on test rows of each family at its defaults, without a column and with it. The
noise floor is the loss of the probabilities that the labels were drawn with. The table is in
docs/explanation/what-was-measured.md.
"""

import argparse
import csv
import os
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from kep.data.records import Records
from kep.models.family import Settings
from kep.models.registry import family
from kep.stats.metrics import loss
from kep.training.monitor import Monitor

NAMES = ("when", "amount", "note")
ARMS = {
    "none of them": NAMES,
    "date": ("amount", "note"),
    "amount": ("when", "note"),
    "text": ("when", "amount"),
    "all": (),
}
"""Columns that each arm leaves out."""
GOOD, BAD = "fine great thanks quick friendly happy", "late broken rude refund angry wrong"
OTHER = "the order came with a box and paper from our shop on monday or tuesday by post for two people in town again"
FAMILIES = ("mlp", "boosted_trees")


def write(path: Path, rows: int, seed: int) -> float:
    """Write orders as people write them; return the log-loss of their true probabilities."""
    rng = np.random.default_rng(seed)
    floor = []
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["when", "amount", "note", "items", "returned"])
        for _ in range(rows):
            when = datetime(2022, 1, 1) + timedelta(minutes=int(rng.integers(0, 3 * 365 * 24 * 60)))
            amount = float(rng.lognormal(6.5, 1))
            mood = int(rng.integers(-1, 2))
            words = [*rng.choice(OTHER.split(), 8), *rng.choice((BAD if mood < 0 else GOOD).split(), abs(mood))]
            rng.shuffle(words)
            weekend, winter = when.weekday() >= 5, when.month in (11, 12, 1)
            logit = 1.5 * (weekend - 0.3) + (winter - 0.25) + np.log(amount) - 6.5 - 2 * mood
            chance = 1 / (1 + np.exp(-logit))
            label = rng.random() < chance
            floor.append(-np.log(chance if label else 1 - chance))
            spelled = (f"{when:%d/%m/%Y %H:%M}", f"${amount:,.2f}", " ".join(words))
            writer.writerow([*spelled, int(rng.integers(1, 9)), "yes" if label else "no"])
    return float(np.mean(floor))


def losses(source: Path, left_out: tuple[str, ...], seed: int) -> list[float]:
    """Return the test loss of each family, trained on the columns that are not left out."""
    with tempfile.TemporaryDirectory() as folder:
        types = {} if "note" in left_out else {"note": "text"}
        settings = DataSettings(source=str(source), label="returned", exclude=list(left_out), types=types)
        manifest = ingest(settings, seed, Path(folder) / "records")
        tune, evaluate = Records(Path(folder) / "records", "tune"), Records(Path(folder) / "records", "evaluate")
        train, validation, test = tune.load("train"), tune.load("validation"), evaluate.load("test")
    found = []
    for name in FAMILIES:
        own = family({"name": name}, manifest)
        values, how = own.space().values, Settings(max_epochs=100, patience=10, batch_size=128, seed=seed)
        best = own.fit(values, train, validation, how, Monitor())
        model = own.refit(values, train, best.best, how, Monitor())
        found.append(loss(manifest.label.task, test.labels, own.predict(model, test)))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3000)
    given = parser.parse_args()
    floors, table = [], {arm: list[list[float]]() for arm in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seeds):
            source = Path(folder) / f"{seed}.csv"
            floors.append(write(source, given.rows, seed))
            for arm, left_out in ARMS.items():
                table[arm].append(losses(source, left_out, seed))
    print(f"| columns beside items | {' | '.join(FAMILIES)} |\n| --- | ---: | ---: |")
    for arm, found in table.items():
        print(f"| {arm} | {' | '.join(f'{mean:.3f}' for mean in np.mean(found, axis=0))} |")
    print(f"\nNoise floor: {np.mean(floors):.3f}; means of {given.seeds} sets of {given.rows} rows.")


if __name__ == "__main__":
    main()
