"""Our search against the book's literal code: KerasTuner, same rows, same space, same epochs and patience.

The model and the settings are those of Deep Learning with Python (Chollet and Watson, 3rd edition), chapter 18: one
dense layer of 16 to 64 units, rmsprop or adam, batches of 128, Bayesian optimisation, two executions per trial, early
stopping. MNIST can't be downloaded by everyone, so scikit-learn's digits are enlarged to its shape (28 x 28), shifted
and given noise. Each arm is a process of its own, the arms run one after the other; both optimise the validation loss.

    python -m benchmarks.search            # a minute or two
    python -m benchmarks.search --full     # the tables of docs/explanation/measured-search.md
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

FAMILY = """
import keras
from keras import layers

def build(hp):
    units = hp.Int("units", min_value=16, max_value=64, step=16)
    model = keras.Sequential([
        layers.Flatten(), layers.Dense(units, activation="relu"), layers.Dense(10, activation="softmax"),
    ])
    optimizer = hp.Choice("optimizer", values=["rmsprop", "adam"])
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""
PATIENCE, BATCH = 5, 128


def digits(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of MNIST's shape, uint8 [rows, 28, 28, 1], and their labels [rows]."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    small, rng = load_digits(), np.random.default_rng(seed)
    large = np.stack([zoom(image, 2.5, order=1) for image in small.images]) * (255 / 16)
    pick = rng.integers(0, len(large), rows)
    images = np.zeros((rows, 28, 28), np.float32)
    for image, source, (down, right) in zip(images, large[pick], rng.integers(0, 9, (rows, 2)), strict=True):
        image[down : down + 20, right : right + 20] = source
    images += rng.normal(0, 60, images.shape)
    return np.clip(images, 0, 255).astype(np.uint8)[..., None], small.target[pick]


def book(folder: Path, trials: int, executions: int, epochs: int) -> None:
    """The book's code on the train and validation rows of the records in `folder`."""
    import keras
    import keras_tuner

    from kep.data.records import Records

    data = Records(folder / "records", "tune")
    train, validation = data.load("train"), data.load("validation")
    namespace: dict = {}
    exec(FAMILY, namespace)
    tuner = keras_tuner.BayesianOptimization(
        namespace["build"],
        objective="val_loss",
        max_trials=trials,
        executions_per_trial=executions,
        directory=folder / "keras-tuner",
        overwrite=True,
    )
    # Standardised as ours are, so that both arms have the same task.
    image = data.manifest.image
    mean, std = np.float32(image.mean), np.float32(image.std)
    tuner.search(
        (train.image - mean) / std,
        train.labels,
        batch_size=BATCH,
        epochs=epochs,
        validation_data=((validation.image - mean) / std, validation.labels),
        callbacks=[keras.callbacks.EarlyStopping(monitor="val_loss", patience=PATIENCE)],
        verbose=0,
    )
    done = [tuner.oracle.trials[id] for id in tuner.oracle.end_order]
    scores = [trial.score for trial in done]
    configurations = {json.dumps(trial.hyperparameters.values, sort_keys=True) for trial in done}
    chosen = min(done, key=lambda trial: trial.score).hyperparameters.values
    result = {"trainings": len(done) * executions, "distinct": len(configurations), "best": min(scores)}
    result["chosen"] = {name: chosen[name] for name in ("units", "optimizer")}
    (folder / "result.json").write_text(json.dumps(result))


def ours(folder: Path, trials: int, executions: int, epochs: int) -> None:
    """`tune` on the same records."""
    from kep.artifacts.trials import TrialStore, merged
    from kep.components.tune.tune import run
    from kep.models.registry import travelling

    (folder / "mlp_of_the_book.py").write_text(FAMILY)
    settings = {"tuner": "bayesian", "max_trials": trials, "executions_per_trial": executions, "max_epochs": epochs}
    settings |= {"patience": PATIENCE, "batch_size": BATCH, "top_n": 4}
    run(
        out=str(folder / "study"),
        records=str(folder / "records"),
        families=json.dumps(travelling(["mlp_of_the_book.py:build"], folder)),
        config=json.dumps(settings),
        hardware="{}",
        seed=0,
        code="",
    )
    records = list(TrialStore(folder / "study").load().values())
    # In the order of suggestion: the executions of a trial one after the other, replicates at the end.
    records.sort(key=lambda trial: (trial.execution >= executions, trial.number, trial.execution))
    result = {"trainings": len(records), "distinct": len(merged(records)), "best": min(t.loss for t in merged(records))}
    result["losses"] = [(trial.values, trial.loss) for trial in records]
    (folder / "result.json").write_text(json.dumps(result))


class Memory(threading.Thread):
    """Samples the memory of a process and its children once a second: proportional set sizes, in MiB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process, self.samples = psutil.Process(pid), []

    def run(self) -> None:
        while self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE:
            try:
                family = [self._process, *self._process.children(recursive=True)]
                self.samples.append(sum(one.memory_full_info().pss for one in family) / 2**20)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                pass
            time.sleep(1)

    def growth(self) -> float:
        """Mean of the last fifth over the mean of the second fifth: 1 is flat."""
        part = max(1, len(self.samples) // 5)
        return float(np.mean(self.samples[-part:]) / np.mean(self.samples[part : 2 * part]))


def arm(name: str, records: Path, *numbers: int) -> dict:
    """One arm in a process of its own: its result, wall seconds, peak memory and bytes on disk."""
    from kep.engines.local.runner import step_environment

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "records").symlink_to(records)
        environment = step_environment() | {"KEP_WORK": str(Path(folder) / "work")}
        command = [sys.executable, "-m", "benchmarks.search", "--arm", name, folder, *map(str, numbers)]
        print(f"{name}: started", file=sys.stderr)
        started = time.perf_counter()
        with open(Path(folder) / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            memory = Memory(process.pid)
            memory.start()
            if process.wait():
                raise SystemExit((Path(folder) / "log").read_text())
        seconds = time.perf_counter() - started
        result = json.loads((Path(folder) / "result.json").read_text())
        kept = {"book": "keras-tuner", "ours": "study"}[name]
        size = sum(path.stat().st_size for path in (Path(folder) / kept).rglob("*") if path.is_file())
        shutil.rmtree(Path(folder) / "work", ignore_errors=True)
        print(f"{name}: {result['trainings']} trainings in {seconds:.0f} s", file=sys.stderr)
    return result | {"seconds": seconds, "peak": max(memory.samples), "growth": memory.growth(), "bytes": size}


def oracle_milliseconds(trials: int = 100) -> dict[str, float]:
    """CPU milliseconds of one suggestion after `trials` trials of the built-in MLP's space, by tuner."""
    import keras_tuner

    from kep.artifacts.trials import Trial
    from kep.components.tune.suggest import ORACLES, suggest

    space = keras_tuner.HyperParameters()
    space.Float("dropout", 0.0, 0.5, step=0.1)
    space.Int("units", 32, 256, sampling="log", step=2)
    space.Int("layers", 1, 3)
    space.Float("learning_rate", 3e-4, 1e-2, sampling="log")
    costs = {}
    for tuner in ORACLES:
        done: list[Trial] = []
        for number in range(trials + 10):
            if number == trials:
                started = time.process_time()
            found = suggest(tuner, space, done, "min", 0, max_epochs=27)
            score = abs(np.log(found.values["learning_rate"] / 2e-3)) + found.values["dropout"]
            figures = {"score": score, "loss": score, "schedule": found.schedule}
            done.append(Trial(number=number, family="f", values=found.values, seed=0, status="complete", **figures))
        costs[tuner] = (time.process_time() - started) * 100
    return costs


def worth(losses: list) -> dict[str, float]:
    """Mean loss of each configuration over all of its executions: what it is worth, without the luck of a seed."""
    of: dict[str, list[float]] = {}
    for values, loss in losses:
        of.setdefault(json.dumps(values, sort_keys=True), []).append(loss)
    return {values: float(np.mean(found)) for values, found in of.items()}


def needed(losses: list, enough: float) -> int:
    """Trainings after which the configuration with the lowest mean so far is worth at most `enough`; 0 for never."""
    true = worth(losses)
    for count in range(1, len(losses) + 1):
        so_far = worth(losses[:count])
        if true[min(so_far, key=so_far.get)] <= enough:
            return count
    return 0


def table(theirs: dict, mine: dict) -> str:
    """Both arms side by side, Markdown."""
    true = worth(mine["losses"])
    theirs_worth, mine_worth = true[json.dumps(theirs["chosen"], sort_keys=True)], min(true.values())
    equal = needed(mine["losses"], theirs_worth)
    lucky = next((n for n, (_, loss) in enumerate(mine["losses"], start=1) if loss <= theirs["best"]), 0)
    rows = [
        ("trainings", f"{theirs['trainings']}", f"{mine['trainings']}", ""),
        ("seconds, start and import included", f"{theirs['seconds']:.0f}", f"{mine['seconds']:.0f}", ""),
        (
            "trainings per minute",
            f"{60 * theirs['trainings'] / theirs['seconds']:.1f}",
            f"{60 * mine['trainings'] / mine['seconds']:.1f}",
            f"{mine['trainings'] / mine['seconds'] / (theirs['trainings'] / theirs['seconds']):.1f}x",
        ),
        ("distinct configurations of 8", f"{theirs['distinct']}", f"{mine['distinct']}", ""),
        ("lowest validation loss of a trial, as reported", f"{theirs['best']:.4f}", f"{mine['best']:.4f}", ""),
        (
            f"the same configuration over {len(mine['losses']) // len(true)} seeds",
            f"{theirs_worth:.4f}",
            f"{mine_worth:.4f}",
            "",
        ),
        (
            "trainings until the best configuration so far is worth KerasTuner's",
            f"{theirs['trainings']}",
            f"{equal}" if equal else "not reached",
            f"{theirs['trainings'] / equal:.0f}x fewer" if equal else "",
        ),
        (
            "trainings until one training is as low as KerasTuner reports",
            f"{theirs['trainings']}",
            f"{lucky}" if lucky else "not reached",
            f"{theirs['trainings'] / lucky:.0f}x fewer" if lucky else "",
        ),
        ("peak memory, MiB", f"{theirs['peak']:.0f}", f"{mine['peak']:.0f}", f"{mine['peak'] / theirs['peak']:.1f}x"),
        ("memory at the end / at the beginning", f"{theirs['growth']:.2f}", f"{mine['growth']:.2f}", ""),
        ("MB on disk", f"{theirs['bytes'] / 1e6:.1f}", f"{mine['bytes'] / 1e6:.1f}", ""),
    ]
    lines = ["| | KerasTuner | ours | ratio |", "| --- | ---: | ---: | ---: |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--full", action="store_true", help="the chapter's budget, 100 trials of two executions, on 10,000 rows"
    )
    parser.add_argument("--arm", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        name, folder, *numbers = arguments.arm
        {"book": book, "ours": ours}[name](Path(folder), *map(int, numbers))
        return

    from kep.components.ingest.ingest import ingest
    from kep.config.data import DataSettings

    rows, trials, executions, epochs = (10_000, 100, 2, 80) if arguments.full else (3000, 8, 1, 15)
    with tempfile.TemporaryDirectory() as folder:
        images, labels = digits(rows, seed=0)
        np.savez(Path(folder) / "digits.npz", x=images, y=labels)
        ingest(DataSettings(source=f"{folder}/digits.npz"), 0, Path(folder) / "records")
        theirs = arm("book", Path(folder) / "records", trials, executions, epochs)
        mine = arm("ours", Path(folder) / "records", trials, executions, epochs)
    print(f"{rows} rows, at most {epochs} epochs, {trials} trials of {executions} executions, {os.cpu_count()} cores\n")
    print(table(theirs, mine))
    print("\n| tuner | CPU ms of a suggestion after 100 trials |\n| --- | ---: |")
    for tuner, cost in oracle_milliseconds().items():
        print(f"| {tuner} | {cost:.1f} |")


if __name__ == "__main__":
    main()
