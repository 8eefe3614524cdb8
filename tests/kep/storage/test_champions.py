"""Champions on gs://: a whole version first, then the pointer, which two writers can't both move."""

import json
from pathlib import Path

import pytest

from kep.artifacts.evaluation import Comparison, Difference
from kep.artifacts.verdict import Verdict
from kep.components.promote.promote import run
from kep.core.errors import UserError
from kep.google import objects
from kep.storage import champions
from tests.helpers.artifacts import evaluation

FOLDER = "gs://data/champions/demo"
WIN = Difference(value=-0.2, low=-0.3, high=-0.1, rows=100)
POINTER = "champions/demo/champion.json"


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    monkeypatch.setattr(objects, "RETRY", objects.RETRY.with_delay(0.01, 0.05))


@pytest.fixture
def promote(gcs, tmp_path):
    """A run of the step for an ensemble of this content, after evaluate compared it with the champion of the moment."""

    def of(content: str, force: bool = False) -> Verdict:
        folder = tmp_path / content[:20]
        (folder / "ensemble" / "members").mkdir(parents=True, exist_ok=True)
        (folder / "ensemble" / "ensemble.json").write_text("{}")
        (folder / "ensemble" / "members" / "a b.bin").write_text(content)
        asked = json.dumps({"folder": FOLDER, "version": None})
        champion = champions.Champion.of_parameter(asked).current
        compared = champion and Comparison(champion=champion, unseen=100, difference=WIN)
        evaluation(compared).save(folder / "evaluation")
        run(
            out=str(folder / "verdict"),
            ensemble=str(folder / "ensemble"),
            evaluation=str(folder / "evaluation"),
            config="{}",
            champion=asked,
            force=force,
        )
        return Verdict.load(folder / "verdict")

    return of


def contents(gcs) -> dict[str, bytes]:
    return {name.removeprefix("champions/demo/"): found.data for (_, name), found in gcs.objects.items()}


def test_each_win_is_a_version_and_the_pointer_names_the_last(gcs, promote):
    first, second = promote("one"), promote("two")
    assert (first.reason, second.promoted) == ("it is the first champion", True)
    pointer = json.loads(contents(gcs)["champion.json"])
    assert (pointer["version"], pointer["replaced"]) == (second.version, first.version)
    kept = {name: data for name, data in contents(gcs).items() if name.endswith("a b.bin")}
    assert kept == {
        f"versions/{first.version}/members/a b.bin": b"one",
        f"versions/{second.version}/members/a b.bin": b"two",
    }
    with champions.opened(champions.read(FOLDER).champion) as folder:
        assert (folder / "members" / "a b.bin").read_bytes() == b"two"
        assert (folder / "ensemble.json").is_file()
    assert not folder.exists()


def test_the_second_of_two_writers_is_told(gcs, promote):
    promote("one")
    before = champions.read(FOLDER)
    promote("two")
    moved = gcs.objects["data", POINTER].data
    assert not champions.move(before, champions.Promotion(version="abc"), Path(__file__).parent / "__init__.py")
    assert gcs.objects["data", POINTER].data == moved


def test_a_writer_that_comes_between_is_told_apart(gcs, promote, monkeypatch):
    promote("one")
    upload = objects.upload

    def slow(*args: object) -> None:
        upload(*args)
        gcs.put("data", POINTER, b'{"version": "other"}')

    monkeypatch.setattr(objects, "upload", slow)
    verdict = promote("two")
    assert (verdict.promoted, verdict.won) == (False, False)
    assert "became champion at the same moment" in verdict.reason
    assert champions.read(FOLDER).version == "other"


@pytest.mark.parametrize("kind", ["lose", "reset", "status"])
def test_an_answer_that_is_lost_is_no_other_writer(gcs, promote, kind):
    fault = gcs.fault(r"POST /upload.*ifGenerationMatch", kind, 503)
    assert promote("one").promoted
    assert fault.hits == 1
    assert promote("two").promoted


def test_nothing_is_promoted_of_what_has_not_arrived(gcs, promote, capsys):
    """Thirty faults of every kind over uploads and downloads; then one that does not end."""
    faults = [
        gcs.fault(pattern, kind, value, times, skip)
        for pattern, kind, value, times, skip in [
            (r"POST /upload.*multipart(?!.*ifGen)", "status", 503, 4, 0),
            (r"POST /upload.*multipart(?!.*ifGen)", "reset", 0, 4, 1),
            (r"POST /upload.*multipart(?!.*ifGen)", "lose", 0, 4, 1),
            (r"POST /upload.*ifGen", "lose", 0, 1, 0),
            (r"POST /upload.*ifGen", "status", 429, 1, 0),
            (r"(POST|PUT) /upload.*resumable", "status", 503, 2, 0),
            (r"PUT /upload.*resumable", "status", 410, 1, 0),
            (r"PUT /upload.*resumable", "reset", 0, 2, 0),
            (r"GET /storage.*prefix", "status", 500, 3, 0),
            (r"GET /download", "cut", 2, 2, 0),
            (r"GET /download", "flip", 1, 2, 0),
            (r"GET /download", "status", 503, 2, 1),
            (r"GET /download", "reset", 0, 2, 2),
        ]
    ]
    large = "large" * 2_000_000  # more than one request takes
    assert promote("one").promoted
    assert promote(large).promoted
    with champions.opened(champions.read(FOLDER).champion) as folder:
        assert (folder / "members" / "a b.bin").read_text() == large
    assert sum(fault.hits for fault in faults) == sum(fault.times for fault in faults) == 30
    gcs.fault(r"POST /upload.*multipart(?!.*ifGen)", "status", 403, 1000)
    moved = gcs.objects["data", POINTER].data
    with pytest.raises(SystemExit):
        promote("three")
    assert (
        "may not be written with these credentials; grant them the role Storage Object User" in capsys.readouterr().out
    )
    assert gcs.objects["data", POINTER].data == moved


@pytest.mark.parametrize("failures", [2, 3])
def test_an_upload_that_fails_for_good_starts_anew_twice(gcs, promote, failures, capsys):
    """Of two files each time, with an answer that the client does not repeat."""
    gcs.fault(r"POST /upload.*multipart(?!.*ifGen)", "status", 400, 2 * failures)
    if failures == 2:
        assert promote("one").promoted
        return
    with pytest.raises(SystemExit):
        promote("one")
    assert (
        "cannot be written: Cloud Storage refuses it (injected fault); check the name and the login"
        in capsys.readouterr().out
    )
    assert ("data", POINTER) not in gcs.objects


def test_a_bucket_that_does_not_exist(gcs):
    with pytest.raises(UserError, match=r'promote\.champion: bucket "none" does not exist; check "gs://none/demo'):
        champions.read("gs://none/demo")


def test_files_on_gs_that_are_gone_or_damaged(gcs, promote):
    """A download is verified against the version's name; promoting the same ensemble again writes its files."""
    first = promote("one")
    champion = champions.read(FOLDER).champion
    place = ("data", f"champions/demo/versions/{first.version}/members/a b.bin")
    for damage in (lambda: gcs.put(*place, b"two"), lambda: gcs.objects.pop(place)):
        damage()
        with (
            pytest.raises(UserError, match=f"the champion in {champion} are damaged; restore them from a copy"),
            champions.opened(champion),
        ):
            pass
        assert "written again" in promote("one").reason
        assert gcs.objects[place].data == b"one"
    for name in [name for name in gcs.objects if "/versions/" in name[1]]:
        del gcs.objects[name]
    with (
        pytest.raises(UserError, match=f"the champion in {champion} are gone; restore them from a copy"),
        champions.opened(champion),
    ):
        pass
    assert "written again" in promote("one").reason


@pytest.mark.parametrize("content", ["{}", '{"a": 3}', "[", '{"ensembles": {"f": []}, "fingerprint": "0"}'])
def test_edited_openings_are_one_sentence(tmp_path, content):
    assert [champions.note_opening(str(tmp_path), "f", by).ensembles for by in ("one", "two", "one")] == [1, 2, 2]
    (tmp_path / champions.OPENINGS).write_text(content)
    with pytest.raises(UserError, match=r"openings\.json .* remove it to count anew"):
        champions.note_opening(str(tmp_path), "f", "three")


MANY = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(5000)]


@pytest.mark.parametrize(
    ("sets", "before"),
    [
        ([("a", [1, 2, 3, 4])], 0),
        ([("a", [1, 2, 3, 4]), ("b", [5, 6])], 0),
        ([("a", [1, 2, 3, 4]), ("b", [3, 4, 5, 6, 7, 8, 9, 2**64 - 1])], 0.25),
        ([("a", [1, 2]), ("b", [2, 3]), ("c", [1, 2, 3, 4])], 0.75),
        ([("a", [1, 2]), ("b", [2, 3]), ("a", [1, 2])], 0.5),
        ([("a", MANY), ("b", [one + 1 for one in MANY])], 0),
        ([("a", MANY), ("b", MANY[::2])], 1),
        ([("a", MANY[::2]), ("b", MANY)], 0.5),
        ([("a", MANY[:100]), ("b", MANY)], 0.02),
    ],
)
def test_test_rows_that_were_among_others_before_are_counted(tmp_path, sets, before):
    for name, ids in sets:
        found = champions.note_opening(str(tmp_path), name, "one", ids)
    assert found.before == pytest.approx(before, abs=0.01)
    # Openings of before there were ids are counted as a whole alone.
    old = champions.Openings.load(tmp_path).model_copy(update={"rows": {}})
    old.save(tmp_path)
    assert champions.note_opening(str(tmp_path), "new", "one", sets[-1][1]).before == 0
