"""What the containers of a run may see; that they run is shown in tests/containers."""

import pytest

from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.engines.local.docker import Containers, engine, sources


@pytest.mark.parametrize(
    ("data", "visible"),
    [
        ({"source": "sklearn:iris"}, []),
        ({"source": "/data/churn.csv"}, ["/data/churn.csv"]),
        ({"source": "/data/2026-*/part-[0-9].csv"}, ["/data"]),
        (
            {"files": {"train": "/a/t.csv", "validation": "/a/v.csv", "test": "/b/*.csv"}},
            ["/a/t.csv", "/a/v.csv", "/b"],
        ),
    ],
)
def test_a_run_shows_its_data_and_nothing_else(data, visible):
    split = {"split": {"by": "files"}} if "files" in data else {}
    assert sources(DataSettings(label="y", **data, **split)) == visible


def test_objects_are_out_of_reach_without_a_network():
    with pytest.raises(UserError, match="copy it here first"):
        sources(DataSettings(source="gs://bucket/churn.csv", label="y"))


def test_no_engine_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(UserError, match=r"no container engine answers at unix://.*no\.sock"):
        engine()


def test_a_container_is_started_with_as_little_as_it_needs(tmp_path):
    containers = Containers(
        run="r", events=f"{tmp_path}/e.jsonl", store=f"{tmp_path}/store", writable=[f"{tmp_path}/w"], readable=["/data"]
    )
    containers.prepare()
    given = containers.options({"A": "b"})
    assert given["read_only"]
    assert given["network_mode"] == "none"
    assert given["cap_drop"] == ["ALL"]
    assert given["environment"] == {"A": "b"}
    assert {mount["Target"]: mount["ReadOnly"] for mount in given["mounts"]} == {
        f"{tmp_path}/w": False,
        f"{tmp_path}/e.jsonl": False,
        "/data": True,
    }
