"""Networks of other authors on rows that `benchmarks.authors` wrote: pytabkit's RealMLP and TabM, and fastai's learner.

Runs in an environment of its own, with pytabkit and fastai and without kep:

    python benchmarks/theirs.py rows.npz SEED THREADS MODEL ...

Prints a line of JSON for each model, with its name, its seconds and the file of its test predictions.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

PYTABKIT = {
    "RealMLP-TD": ("RealMLP_TD", {}),
    "RealMLP-TD, no smoothing": ("RealMLP_TD", {"use_ls": False}),
    "RealMLP-TD-S": ("RealMLP_TD_S", {}),
    "TabM": ("TabM_D", {"d_block": 256, "batch_size": 128}),
}
FASTAI = "fastai"
EPOCHS, RATE, BATCH = 32, 1e-2, 128
"""Of fastai's learner: those of the family `tabular` at its defaults."""


def frame(rows: "np.lib.npyio.NpzFile", role: str) -> pd.DataFrame:
    """Rows of a role, numbers first; categories are texts."""
    numbers, codes = rows[f"{role}_numeric"], rows[f"{role}_categorical"]
    columns = {f"n{place}": column for place, column in enumerate(numbers.T)}
    return pd.DataFrame(columns | {f"c{place}": column.astype(str) for place, column in enumerate(codes.T)})


def pytabkit(name: str, rows: "np.lib.npyio.NpzFile", seed: int, threads: int) -> np.ndarray:
    """Test predictions of the model of the best epoch by the validation loss, as the family's search has it."""
    from pytabkit.models.sklearn import sklearn_interfaces

    regression = bool(rows["regression"])
    kind, given = PYTABKIT[name]
    made = getattr(sklearn_interfaces, f"{kind}_{'Regressor' if regression else 'Classifier'}")
    metric = "rmse" if regression else "cross_entropy"
    model = made(device="cpu", random_state=seed, n_threads=threads, val_metric_name=metric, **given)
    train, validation, test = (frame(rows, role) for role in ("train", "validation", "test"))
    categories = [column for column in train if column.startswith("c")]
    model.fit(train, rows["train_labels"], validation, rows["validation_labels"], cat_col_names=categories)
    return model.predict(test) if regression else model.predict_proba(test)


def fastai(rows: "np.lib.npyio.NpzFile", seed: int) -> np.ndarray:
    """Test predictions of the last epoch; labels of a regression are standardised, which fastai leaves to its users."""
    from fastai.tabular.all import (
        Categorify,
        CategoryBlock,
        FillMissing,
        Normalize,
        RegressionBlock,
        TabularPandas,
        set_seed,
        tabular_learner,
    )

    set_seed(seed, reproducible=True)
    regression, labels = bool(rows["regression"]), rows["train_labels"]
    centre, scale = (labels.mean(), labels.std()) if regression else (0.0, 1.0)
    parts = [frame(rows, role) for role in ("train", "validation", "test")]
    counts = [len(part) for part in parts]
    whole = pd.concat(parts[:2], ignore_index=True)
    given = np.concatenate([rows["train_labels"], rows["validation_labels"]])
    whole["y"] = ((given - centre) / scale).astype(np.float32) if regression else given
    names = list(parts[0])
    table = TabularPandas(
        whole,
        procs=[Categorify, FillMissing, Normalize],
        cat_names=[name for name in names if name.startswith("c")],
        cont_names=[name for name in names if name.startswith("n")],
        y_names="y",
        y_block=RegressionBlock() if regression else CategoryBlock(),
        splits=(list(range(counts[0])), list(range(counts[0], len(whole)))),
    )
    loaders = table.dataloaders(bs=BATCH)
    learner = tabular_learner(loaders)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(EPOCHS, RATE)
        found = learner.get_preds(dl=loaders.test_dl(parts[2]))[0].numpy()
    return found[:, 0] * scale + centre if regression else found


def main() -> None:
    path, seed, threads, *names = sys.argv[1:]
    warnings.filterwarnings("ignore")
    torch.set_num_threads(int(threads))
    rows = np.load(path)
    for place, name in enumerate(names):
        started = time.perf_counter()
        found = fastai(rows, int(seed)) if name == FASTAI else pytabkit(name, rows, int(seed), int(threads))
        seconds = time.perf_counter() - started
        out = Path(path).with_name(f"theirs-{place}.npy")
        np.save(out, np.asarray(found, np.float64))
        print(json.dumps({"name": name, "seconds": seconds, "file": str(out)}), flush=True)


if __name__ == "__main__":
    main()
