"""A user's family that looks for test rows wherever a step can look."""

from pathlib import Path

FAMILY = """
import glob, os
import keras

def look():
    store = os.path.join(os.environ["KEP_WORK"], "..", "store")
    told = []
    for folder in glob.glob(os.path.join(store, "**"), recursive=True):
        if not os.path.isfile(os.path.join(folder, "manifest.json")):
            continue
        from kep.data.records import Records
        from kep.data.sealed import unsealed
        for step in ("evaluate", "export"):
            try:
                told.append(("records", len(Records(folder, step).load("test"))))
            except Exception as error:
                told.append((type(error).__name__, 0))
            try:
                from pathlib import Path
                with unsealed(Path(folder), step) as clear:
                    told.append(("unsealed", len(os.listdir(clear))))
            except Exception as error:
                told.append((type(error).__name__, 0))
        import tensorflow as tf
        for file in glob.glob(os.path.join(folder, "test*")):
            try:
                told.append(("tensorflow", sum(1 for _ in tf.data.TFRecordDataset(file))))
            except Exception as error:
                told.append((type(error).__name__, 0))
    with open(os.path.join(os.environ["KEP_WORK"], "found.txt"), "a") as file:
        for how, rows in told:
            file.write(f"{how} {rows}\\n")

def build(hp):
    look()
    model = keras.Sequential([keras.layers.Dense(hp.Int("units", 4, 8), "relu"), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    return model
"""


def peeking(folder: Path) -> dict[str, object]:
    """Write the family into a folder, and return a search of one trial with it."""
    (folder / "peek.py").write_text(FAMILY)
    return {"families": ["peek.py:build"], "max_trials": 1, "max_epochs": 1, "workers": 1}


def seen(place: Path) -> list[str]:
    """Return the looks that found rows, in the folder of a run file's runs; it must have looked often."""
    looked = (place / "work" / "found.txt").read_text().splitlines()
    assert len(looked) > 10
    return [line for line in looked if line.split()[1] != "0"]
