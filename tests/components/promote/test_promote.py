"""A champion is replaced on a sure win alone, by one atomic move of a pointer."""

import json
import shutil
from pathlib import Path

import pytest

from kep.artifacts.evaluation import Comparison, Difference
from kep.artifacts.verdict import Verdict
from kep.components.promote.promote import run
from kep.core.errors import UserError
from kep.storage.champions import POINTER, Champion, Promotion, content_version, opened, read, serving
from tests.helpers.artifacts import evaluation as evaluated
from tests.helpers.files import flip


def difference(value: float | None, low: float | None, high: float | None, rows: int = 50) -> Comparison:
    return Comparison(
        champion="x", unseen=rows, differences={"loss": Difference(value=value, low=low, high=high, rows=rows)}
    )


WIN, LOSS = difference(-0.2, -0.3, -0.1, 100), difference(0.2, 0.1, 0.3, 100)
PROBLEM = Comparison(champion="x", problem="the champion predicts another label", changed=True)


class Place:
    """A champion's folder, a challenger and what evaluate said about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.champions = folder / "champions" / "demo"
        self.pointer = self.champions / POINTER

    def ensemble(self, content: str) -> Path:
        path = self.folder / "ensembles" / content
        (path / "members" / "a").mkdir(parents=True, exist_ok=True)
        (path / "members" / "a" / "model.txt").write_text(content)
        (path / "ensemble.json").write_text('{"weights": {"a": 1}}')
        return path

    def promote(self, content: str, compared: Comparison | None, against: str | None, force=False, **rules) -> Verdict:
        evaluation = self.folder / "evaluation"
        evaluated(compared and compared.model_copy(update={"champion": against})).save(evaluation)
        out = self.folder / "verdict"
        run(
            out=str(out),
            ensemble=str(self.ensemble(content)),
            evaluation=str(evaluation),
            config=json.dumps(rules),
            champion=Champion(folder=str(self.champions), version=None).to_json(),
            force=force,
        )
        return Verdict.load(out)

    @property
    def current(self) -> str | None:
        """As the next run's arguments name it."""
        return read(self.champions).champion

    @property
    def versions(self) -> set[str]:
        folder = self.champions / "versions"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_there_is_no_champion_before_the_first_promotion(place):
    assert place.current is None


def test_the_first_ensemble_becomes_champion_as_a_copy(place):
    verdict = place.promote("one", None, None)
    assert verdict.promoted
    assert verdict.won
    assert not verdict.forced
    assert place.versions == {verdict.version}
    assert Path(place.current) == place.champions / "versions" / verdict.version
    assert (Path(place.current) / "members" / "a" / "model.txt").read_text() == "one"
    pointer = json.loads(place.pointer.read_text())
    reason = "it is the first champion"
    del pointer["fingerprint"]
    assert pointer == {"version": verdict.version, "reason": reason, "forced": False, "replaced": None}


def test_a_win_moves_the_pointer_and_keeps_the_old_version(place):
    first = place.promote("one", None, None)
    second = place.promote("two", WIN, place.current)
    assert second.promoted
    assert Promotion.load(place.champions).version == second.version
    assert place.versions == {first.version, second.version}
    assert second.comparison.differences == WIN.differences


@pytest.mark.parametrize("compared", [LOSS, PROBLEM])
def test_without_a_win_nothing_under_the_champion_changes(place, compared):
    place.promote("one", None, None)
    before = place.pointer.read_bytes()
    verdict = place.promote("two", compared, place.current)
    assert not verdict.promoted
    assert not verdict.won
    assert place.pointer.read_bytes() == before
    assert len(place.versions) == 1


def test_the_rules_of_the_run_file_count(place):
    place.promote("one", None, None)
    verdict = place.promote("two", WIN, place.current, better_by=0.1)
    assert not verdict.promoted
    assert not verdict.serves
    assert [(rule.rule, rule.held) for rule in verdict.rules] == [
        ("promote.require.beats", True),
        ("promote.better_by", False),
    ]
    assert place.promote("two", WIN, place.current, better_by=0.09).promoted


def test_the_name_of_before_is_read(place):
    place.promote("one", None, None)
    assert not place.promote("two", WIN, place.current, margin=0.1).promoted


def test_a_changed_schema_replaces_the_champion_where_the_run_file_says_so(place):
    place.promote("one", None, None)
    assert not place.promote("two", PROBLEM, place.current).promoted
    verdict = place.promote("two", PROBLEM, place.current, when_incomparable="replace")
    assert verdict.promoted
    assert verdict.won
    assert verdict.reason == (
        "the champion predicts another label; promote.when_incomparable: replace lets the new ensemble take its place"
    )


def test_an_ensemble_that_misses_a_rule_is_not_even_the_first_champion(place):
    verdict = place.promote("one", None, None, require={"accuracy": 0.9})
    assert not verdict.promoted
    assert place.current is None
    assert verdict.reason.startswith("its accuracy is undefined on these rows")


def test_force_promotes_and_is_recorded(place):
    place.promote("one", None, None)
    verdict = place.promote("two", LOSS, place.current, force=True)
    assert (verdict.promoted, verdict.won, verdict.forced) == (True, False, True)
    assert Promotion.load(place.champions).forced
    assert Promotion.load(place.champions).version == verdict.version
    # A win is not called forced.
    verdict = place.promote("three", WIN, place.current, force=True)
    assert (verdict.promoted, verdict.forced) == (True, False)
    assert not Promotion.load(place.champions).forced


def test_a_champion_that_changed_meanwhile_is_not_replaced_unseen(place):
    place.promote("one", None, None)
    compared_with = place.current
    place.promote("two", WIN, compared_with)
    before = place.pointer.read_bytes()
    verdict = place.promote("three", WIN, compared_with)
    assert not verdict.promoted
    assert "another ensemble became champion during this run" in verdict.reason
    assert place.pointer.read_bytes() == before


def test_a_champion_that_appeared_meanwhile_is_not_replaced_unseen(place):
    place.promote("one", None, None)
    assert not place.promote("two", None, None).promoted


def test_promoting_an_ensemble_twice_makes_one_version(place):
    first = place.promote("one", None, None)
    (place.ensemble("one") / "step.json").write_text('{"seconds": 12.5}')
    second = place.promote("one", WIN, place.current, force=True)
    assert second.promoted
    assert first.version == second.version
    assert len(place.versions) == 1


def test_a_task_that_is_repeated_after_it_promoted_says_the_same(place):
    assert place.promote("one", None, None) == place.promote("one", None, None)
    first = place.current
    assert place.promote("two", LOSS, first, force=True) == place.promote("two", LOSS, first, force=True)


def test_the_champion_itself_is_no_challenger(place):
    place.promote("one", None, None)
    before = place.pointer.read_bytes()
    verdict = place.promote("one", WIN, place.current)
    assert not verdict.promoted
    assert "this very ensemble is the champion already" in verdict.reason
    assert verdict.serves
    assert place.pointer.read_bytes() == before


def test_a_version_is_of_the_content_and_the_names_but_not_of_times(place):
    one, two = place.ensemble("one"), place.ensemble("two")
    assert content_version(one) != content_version(two)
    version = content_version(one)
    (one / "step.json").write_text("{}")
    assert content_version(one) == version
    (one / "members" / "a").rename(one / "members" / "b")
    assert content_version(one) != version


def test_a_promotion_that_fails_half_way_leaves_the_champion(place, monkeypatch):
    place.promote("one", None, None)
    before = place.pointer.read_bytes()
    version = content_version(place.ensemble("two"))

    def torn(source, target, **_):
        (Path(target) / "half").write_text("x")
        raise OSError("disk full")

    monkeypatch.setattr("kep.storage.champions.shutil.copytree", torn)
    with pytest.raises(OSError, match="disk full"):
        place.promote("two", WIN, place.current)
    assert place.pointer.read_bytes() == before
    assert version not in place.versions
    assert len(place.versions) == 1


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda version: flip(version / "members" / "a" / "model.txt")])
def test_the_champion_itself_is_written_again_where_its_files_are_gone_or_damaged(place, damage):
    verdict = place.promote("one", None, None)
    version = Path(place.current)
    damage(version)
    again = place.promote("one", PROBLEM, place.current)
    assert not again.promoted
    assert again.reason == (
        "this very ensemble is the champion already; its files there were gone or damaged, and are written again"
    )
    assert content_version(version) == verdict.version
    assert (version / "members" / "a" / "model.txt").read_text() == "one"


@pytest.mark.parametrize(
    ("damage", "state"),
    [(shutil.rmtree, "gone"), (lambda version: flip(version / "members" / "a" / "model.txt"), "damaged")],
)
def test_a_champion_that_is_gone_or_damaged_is_one_sentence(place, damage, state):
    place.promote("one", None, None)
    damage(Path(place.current))
    for read_it in (serving, lambda folder: opened(place.current).__enter__()):
        with pytest.raises(UserError) as refused:
            read_it(place.champions)
        assert str(refused.value) == (
            f"the files of the champion in {place.current} are {state}; restore them from a copy, or remove the "
            "champion.json that names it: `kep run … --from evaluate --force` then writes a champion again"
        )


@pytest.mark.parametrize("damage", [shutil.rmtree, lambda version: flip(version / "members" / "a" / "model.txt")])
def test_the_way_out_of_a_lost_champion(place, damage):
    """Without its pointer the next run promotes, and writes the files again though their folder is there."""
    place.promote("one", None, None)
    version = Path(place.current)
    damage(version)
    place.pointer.unlink()
    assert place.promote("one", None, None, force=True).promoted
    assert serving(place.champions) == version
