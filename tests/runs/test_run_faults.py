"""A whole run with its data and its champion on gs://, through a storage that fails again and again."""

import json

import numpy as np
import pytest

from kep.storage.champions import OPENINGS, POINTER, opened, read
from tests.helpers.commands import Run, kep, write_run
from tests.helpers.paths import DATA
from tests.servers import gcs as storage

PARTS = 12


@pytest.mark.slow
def test_a_run_through_faults_is_the_run_without(tmp_path, monkeypatch):
    """Same rows, predictions and weights; one champion, whole."""
    header, *rows = (DATA / "churn.csv").read_text().splitlines(keepends=True)
    parts = {f"part-{n:02}.csv": header + "".join(rows[n::PARTS]) for n in range(PARTS)}
    (tmp_path / "parts").mkdir()
    with storage.Server("data") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        for name, text in parts.items():
            (tmp_path / "parts" / name).write_text(text)
            server.put("data", f"parts/{name}", text.encode())
        own = {"data": {"source": "parts", "label": "churned"}}
        far = {"data": {"source": "gs://data/parts", "label": "churned"}, "promote": {"champion": "gs://data/best"}}
        calm = kep("run", write_run(tmp_path, "calm", **own), folder=tmp_path)
        kinds = [("status", 503), ("reset", 0), ("flip", 5), ("cut", 20), ("status", 429)]
        faults = [
            server.fault(rf"GET /download.*part-{n:02}", *kinds[(n + again) % len(kinds)], 1, again)
            for n in range(PARTS)
            for again in range(2)
        ]
        faults += [
            server.fault(r"GET /storage.*prefix=parts", "status", 500, 1, 1),
            server.fault(r"GET /storage.*prefix=best", "reset"),
            server.fault(r"POST /upload.*multipart(?!.*ifGen)", "lose", 0, 2, 1),
            server.fault(r"POST /upload.*multipart(?!.*ifGen)", "status", 503, 2, 4),
            server.fault(r"POST /upload.*ifGen", "lose"),
        ]
        faulty = kep("run", write_run(tmp_path, "faulty", **far), folder=tmp_path)
        assert (calm.returncode, faulty.returncode) == (0, 0), faulty.stdout
        assert [fault for fault in faults if fault.hits < fault.times] == []
        assert sum(fault.hits for fault in faults) == sum(fault.times for fault in faults) >= 30
        one, other = (Run(tmp_path / "runs", name, "") for name in ("calm", "faulty"))
        ours, theirs = np.load(one.predictions), np.load(other.predictions)
        assert set(ours.files) == set(theirs.files)
        for name in ours.files:
            np.testing.assert_array_equal(ours[name], theirs[name])
        assert one.report["manifest"]["roles"] == other.report["manifest"]["roles"]
        champion = read("gs://data/best")
        assert champion.version == other.read("verdict", "verdict.json")["version"]
        with opened(champion.champion) as folder:
            whole = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        local = read(tmp_path / "runs" / "champions" / "calm")
        with opened(local.champion) as folder:
            assert set(whole) == {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        # What is under the champions' folder: the pointer, the openings of test rows, and that one version.
        names = [name for (_, name) in server.objects if name.startswith("best/")]
        files = [f"best/versions/{champion.version}/{name}" for name in whole]
        assert sorted(names) == sorted([f"best/{POINTER}", f"best/{OPENINGS}", *files])
        assert json.loads(server.objects["data", f"best/{POINTER}"].data)["version"] == champion.version
