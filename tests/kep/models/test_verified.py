"""A damaged ensemble is refused before a library loads it."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kep.core.errors import UserError
from kep.core.files import read_json, write_json
from kep.models import ensemble
from kep.models.ensemble import Ensemble, verified
from tests.helpers.files import edited, flip, truncate

TREES, NETWORK = "boosted_trees-1", "mlp-0"


@pytest.fixture
def folder(ensembles, tmp_path):
    """An ensemble of a network and boosted trees that a test may damage."""
    shutil.copytree(ensembles("churn", "mlp", "boosted_trees"), tmp_path / "ensemble")
    return tmp_path / "ensemble"


def _leaf(path: Path) -> None:
    text = path.read_text()
    start = text.index("leaf_value=") + len("leaf_value=")
    path.write_text(text[:start] + "9.9" + text[text.index(" ", start) :])


def _double(path: Path) -> None:
    content = read_json(path)
    for member in content["members"]:
        member["weight"] *= 2
    write_json(path, content)


def _swap(path: Path) -> None:
    content = read_json(path)
    first, second = content["members"]
    first["weight"], second["weight"] = second["weight"], first["weight"]
    write_json(path, content)


def _pool(path: Path) -> None:
    write_json(path, read_json(path) | {"pooling": "geometric"})


def _classes(path: Path) -> None:
    content = read_json(path)
    content["label"]["classes"].reverse()
    write_json(path, content)


def _fewer(path: Path) -> None:
    np.save(path, np.load(path)[1:])


DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a leaf of a tree": (f"members/{TREES}/model.txt", _leaf),
    "truncated trees": (f"members/{TREES}/model.txt", truncate),
    "flipped trees": (f"members/{TREES}/model.txt", flip),
    "no trees": (f"members/{TREES}/model.txt", Path.unlink),
    "a flipped network": (f"members/{NETWORK}/model.keras", flip),
    "a truncated network": (f"members/{NETWORK}/model.keras", truncate),
    "no network": (f"members/{NETWORK}/model.keras", Path.unlink),
    "no member": (f"members/{NETWORK}", shutil.rmtree),
    "another description of a member": (f"members/{NETWORK}/member.json", flip),
    "doubled weights": ("ensemble.json", _double),
    "swapped weights": ("ensemble.json", _swap),
    "another pooling": ("ensemble.json", _pool),
    "a torn description": ("ensemble.json", truncate),
    "a flipped description": ("ensemble.json", flip),
    "no description": ("ensemble.json", Path.unlink),
    "swapped classes": ("manifest.json", _classes),
    "a torn manifest": ("manifest.json", truncate),
    "no manifest": ("manifest.json", Path.unlink),
    "fewer train ids": ("train_ids.npy", _fewer),
    "flipped train ids": ("train_ids.npy", flip),
    "truncated train ids": ("train_ids.npy", truncate),
    "no train ids": ("train_ids.npy", Path.unlink),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_one_sentence_with_the_file(folder, kind):
    name, damage = DAMAGE[kind]
    damage(folder / name)
    with pytest.raises(UserError) as refused:
        Ensemble(folder)
    assert str(folder / name) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_any_flipped_byte_is_found(folder):
    """Of every file that is loaded, at places all over it."""
    names = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "step.json")
    for path in names:
        whole = path.read_bytes()
        for place in np.linspace(0, len(whole) - 1, 9).astype(int):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            with pytest.raises(UserError, match=path.name):
                verified(folder)
        path.write_bytes(whole)
    assert verified(folder).files


def test_what_is_written_later_is_not_covered(folder, ensembles):
    """step.json holds times, and equal ensembles have one fingerprint; predicted.json has a fingerprint of its own."""
    (folder / "step.json").write_text("{}")
    (folder / "predicted.json").write_text("{}")
    assert verified(folder) == verified(ensembles("churn", "mlp", "boosted_trees"))


def test_an_ensemble_without_fingerprints_is_said_once_and_still_verified(folder, caplog):
    ensemble._note_unverified.cache_clear()
    content = read_json(folder / "ensemble.json")
    old = {name: value for name, value in content.items() if name not in ("files", "fingerprint")}
    write_json(folder / "ensemble.json", old)
    with caplog.at_level(logging.WARNING):
        verified(folder)
        verified(folder)
    assert [record.message.split(";")[0] for record in caplog.records] == [
        f"note: {folder}/ensemble.json has no fingerprints of its files, so damage to them would not be noticed"
    ]
    _double(folder / "ensemble.json")
    with pytest.raises(UserError, match="don't sum to 1"):
        verified(folder)
    write_json(folder / "ensemble.json", old)
    shutil.rmtree(folder / "members" / TREES)
    with pytest.raises(UserError, match=f"{TREES} is missing"):
        verified(folder)


@pytest.mark.parametrize("weights", [(1.4, 0.6), (float("nan"), 1.0), (1.5, -0.5)])
def test_weights_that_are_none_are_refused_whatever_the_fingerprint_says(folder, weights):
    with edited(folder / "ensemble.json") as content:
        for member, weight in zip(content["members"], weights, strict=True):
            member["weight"] = weight
    with pytest.raises(UserError, match=r"ensemble\.json"):
        verified(folder)
