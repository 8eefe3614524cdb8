"""Weights of ImageNet for a premade family: Keras downloads them, from a local server here, and only when asked."""

import hashlib

import h5py
import keras
import keras_tuner
import numpy as np
import pytest
from keras.src.applications import efficientnet
from keras.src.backend import config
from keras.src.legacy.saving import legacy_h5_format

from kep.core.errors import UserError
from kep.data.records import Records
from kep.models.premade import build_for
from kep.models.registry import family, travelling
from tests.servers.tunnel import Running, Tunnel, json_handler

HOST = r"storage\.googleapis\.com"
PATH = "/keras-applications/efficientnetb0_notop.h5"


class Store(Running):
    """Keras's store of weights, with one file: a network of halves.

    Attributes:
        asked: paths, in order.
    """

    def __init__(self, tunnel: Tunnel, content: bytes):
        self.asked: list[str] = []
        self._servers = [tunnel.https(HOST, json_handler(self._answer))]
        self._content = content

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        self.asked.append(path)
        return (200, self._content) if path == PATH else (404, "")


@pytest.fixture
def store(tunnel, tmp_path, monkeypatch):
    network = keras.applications.EfficientNetB0(include_top=False, weights=None)
    network.set_weights([np.full_like(weight, 0.5) for weight in network.get_weights()])
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    content = (tmp_path / "weights.h5").read_bytes()
    # Keras verifies what it gets, so the published file's hash gives way to this one's.
    monkeypatch.setitem(efficientnet.WEIGHTS_HASHES, "b0", ("", hashlib.md5(content).hexdigest()))
    # Where the folder does not exist, Keras takes one that all processes share.
    (tmp_path / "keras").mkdir()
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path / "keras"))
    with Store(tunnel, content) as server:
        yield server
    del tunnel.ports[HOST]


@pytest.fixture
def colours(records):
    """The manifest of images in colour."""
    manifest = Records(records("shapes"), "tune").manifest
    column = manifest.image.model_copy(update={"shape": (12, 12, 3)})
    return manifest.model_copy(update={"columns": [column]})


def test_weights_are_downloaded_once_and_only_when_asked_for(store, colours):
    for weights in (None, "imagenet", "imagenet"):
        network = build_for("hyperefficientnet", colours, weights)(keras_tuner.HyperParameters())
        (kernel,) = [v for layer in network.layers for v in layer.weights if v.path.endswith("stem_conv/kernel")]
        assert bool((np.asarray(kernel) == 0.5).all()) == (weights is not None)
        assert store.asked == ([PATH] if weights else [])


def test_a_download_that_fails_is_one_sentence(store, colours):
    hp = keras_tuner.HyperParameters()
    hp.Fixed("version", "B1")
    with pytest.raises(UserError, match=r"weights of hyperefficientnet:imagenet can't be downloaded \(Not Found\)"):
        build_for("hyperefficientnet", colours, "imagenet")(hp)


def test_weights_travel_with_the_family(records):
    (spec,) = travelling(["hyperefficientnet:imagenet"], None)
    assert spec == {"name": "hyperefficientnet", "weights": "imagenet"}
    with pytest.raises(UserError, match="are for images in colour, and these have 1 channel"):
        family(spec, Records(records("shapes"), "tune").manifest)


@pytest.mark.parametrize("name", ["hyperresnet:imagenet", "hyperefficientnet:noisy", "mlp:imagenet"])
def test_weights_that_do_not_exist_are_refused(name):
    with pytest.raises(UserError, match=f'"{name}" can.t be had; weights can be asked for with hyperefficientnet:imag'):
        travelling([name], None)
