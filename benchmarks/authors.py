"""Our networks for tables beside the authors' own, on the same rows: pytabkit's RealMLP and TabM, fastai's tabular.

    uv venv /tmp/authors && VIRTUAL_ENV=/tmp/authors uv pip install pytabkit fastai
    python -m benchmarks.authors --python /tmp/authors/bin/python [--seeds N] [--tables NAME ...] [--models NAME ...]

Ours run at the defaults of their spaces, theirs in a process of the other environment (`benchmarks/theirs.py`).
Prints a Markdown table of test losses (log-loss, or root mean squared error): mean and standard deviation over the
seeds. From a seed come the table, the split and the training. Then a table of seconds.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from benchmarks.families import shown
from benchmarks.prepared import prepared
from benchmarks.tables import EVERY
from kep.models.family import Settings
from kep.models.registry import family
from kep.stats.metrics import loss
from kep.training.monitor import Monitor

OURS = {"tabular": {}, "realmlp": {}, "realmlp, smoothing": {"label_smoothing": 0.1}, "tabm": {}}
"""What ours have other than the defaults, where they have it; the family is before the comma."""
THEIRS = ("fastai", "RealMLP-TD-S", "RealMLP-TD", "RealMLP-TD, no smoothing", "TabM")
SHOWN = ("digits", "categories", "outliers", "clusters", "breast cancer", "skewed")
EPOCHS = 256
"""Limit of a training, which is longer than any default."""

Found = dict[str, tuple[float, float]]
"""Test loss and seconds by model."""


def run(name: str, seed: int, models: list[str], python: str | None, threads: int) -> Found:
    """Fit the models on the rows of one table."""
    found: Found = {}
    with prepared(name, seed) as table, tempfile.TemporaryDirectory() as folder:
        task, truth = table.task, table.test.labels
        for one in [model for model in models if model in OURS]:
            member, started = family({"name": one.partition(",")[0]}, table.manifest), time.perf_counter()
            values = dict(member.space().values)
            values |= {key: value for key, value in OURS[one].items() if key in values}
            fit = member.fit(values, table.train, table.validation, Settings(EPOCHS, 10, 128, seed), Monitor())
            seconds = time.perf_counter() - started
            found[one] = (shown(task, loss(task, truth, member.predict(fit.model(), table.test))), seconds)
        theirs = [model for model in models if model in THEIRS]
        if python is None or not theirs:
            return found
        arrays = {"regression": np.array(task == "regression")}
        for role, part in (("train", table.train), ("validation", table.validation), ("test", table.test)):
            arrays |= {f"{role}_numeric": part.numeric, f"{role}_categorical": part.categorical}
            arrays[f"{role}_labels"] = part.labels
        np.savez(Path(folder) / "rows.npz", **arrays)
        command = [python, str(Path(__file__).with_name("theirs.py")), f"{folder}/rows.npz"]
        command += [str(seed), str(threads), *theirs]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                told = json.loads(line)
                predictions = np.load(told["file"]).astype(np.float32)
                found[told["name"]] = (shown(task, loss(task, truth, predictions)), told["seconds"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", help="Python of the environment with pytabkit and fastai; ours alone without it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tables", nargs="+", choices=EVERY, default=list(SHOWN), metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=[*OURS, *THEIRS], default=[*OURS, *THEIRS], metavar="NAME")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of theirs")
    asked = parser.parse_args()
    models = [model for model in asked.models if asked.python or model in OURS]
    print(f"| table | {' | '.join(models)} |\n|{' --- |' * (len(models) + 1)}", flush=True)
    times = {}
    for name in asked.tables:
        results = [run(name, seed, models, asked.python, asked.threads) for seed in range(asked.seeds)]
        losses = {model: [result[model][0] for result in results] for model in models}
        times[name] = {model: np.mean([result[model][1] for result in results]) for model in models}
        cells = [f"{np.mean(values):.4g} ± {np.std(values):.2g}" for values in losses.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\n| seconds | {' | '.join(models)} |\n|{' --- |' * (len(models) + 1)}")
    for name, seconds in times.items():
        print(f"| {name} | {' | '.join(f'{one:.1f}' for one in seconds.values())} |")


if __name__ == "__main__":
    main()
