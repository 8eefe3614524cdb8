"""The decision whether the new ensemble becomes champion, and the move of the pointer if it does."""

from pathlib import Path

from kep.artifacts.evaluation import Comparison, Evaluation
from kep.artifacts.verdict import Verdict
from kep.config.promote import PromoteSettings
from kep.runtime.step import Step, entry
from kep.storage import champions
from kep.storage.champions import content_version


@entry("promote")
def run(
    step: Step,
    *,
    ensemble: str,
    evaluation: str,
    config: str,
    champion: str,
    force: bool,
    server_image: str = "",
    job: str = "",
) -> None:
    """Writes `verdict.json` and, on a win, copies the ensemble beside the champion and moves the pointer to it.

    Args:
        step: This execution.
        ensemble: Folder of the challenger.
        evaluation: Folder that `evaluate` wrote.
        config: JSON of `PromoteSettings`.
        champion: JSON of `Champion`.
        force: Promote whatever the comparison says; recorded in the verdict.
        server_image: Image by digest that serves the winner, where the Model Registry is to have it.
        job: Resource name of the run, by which Vertex AI's Model Registry is found.

    Raises:
        UserError: The version can't be written, or the Model Registry refuses it.
    """
    settings = PromoteSettings.model_validate_json(config)
    evaluated = Evaluation.load(evaluation)
    given = champions.Champion.of_parameter(champion)
    given.check_lasting()
    compared = evaluated.champion
    won, reason = decide(compared, settings.margin)
    pointer, own = champions.read(given.folder), content_version(Path(ensemble))
    against = compared.champion if compared else None
    replaced, moved = against and against.rpartition("/")[2], pointer.promotion
    if moved and (moved.version, moved.replaced) == (own, replaced):
        # A retry of a task that was lost after it had moved the pointer.
        promoted, won, reason = True, not moved.forced, moved.reason
    else:
        if pointer.champion != against:
            won, reason = False, "another ensemble became champion during this run; run again to compare with it"
        if pointer.version == own:
            won, reason = False, "this very ensemble is the champion already"
            if champions.add(pointer.folder, own, Path(ensemble)):
                reason += "; its files there were gone or damaged, and are written again"
        promotion = champions.Promotion(version=own, reason=reason, forced=force and not won, replaced=replaced)
        promoted = (won or force) and champions.move(pointer, promotion, Path(ensemble))
        if won and not promoted:
            won, reason = False, "another ensemble became champion at the same moment; run again to compare with it"
    step.progress(f"{'promoted' if promoted else 'not promoted'}: {reason}{' (forced)' if force and not won else ''}")
    registered = None
    if promoted and settings.registry:
        from kep.components.promote.register import register

        registered = register(job, champions.version_folder(given.folder, own), server_image, evaluated, reason)
        step.progress(f"registered {registered}" if registered else "not registered: this run is not on Vertex AI")
    Verdict(
        promoted=promoted,
        won=won,
        forced=force and not won,
        reason=reason,
        margin=settings.margin,
        comparison=compared,
        version=own,
        folder=given.folder,
        registered=registered,
    ).save(step.out)


def decide(compared: Comparison | None, margin: float) -> tuple[bool, str]:
    """Return whether the challenger wins, and why.

    It wins when the whole 95 % interval of the difference of test losses (challenger minus champion, paired by row)
    lies below minus the margin: an ensemble that may be as good as the champion does not replace it.

    Args:
        compared: The comparison with the champion; None where there is none.
        margin: Margin in units of the loss.
    """
    if compared is None:
        return True, "it is the first champion"
    difference = compared.difference
    if difference is None:
        return False, compared.problem or "the champion was not compared"
    if difference.value is None or difference.low is None or difference.high is None:
        return False, "the difference of the losses is not a number: one of the two predicts none for some test rows"
    interval = f"{difference.value:+.4f} (95 % interval {difference.low:+.4f} to {difference.high:+.4f})"
    won = difference.high < -margin
    verdict = "surely lower" if won else "not surely lower"
    by = f" by more than the margin of {margin:g}" if margin else ""
    return won, f"its loss is {verdict}{by} than the champion's: {interval} on {difference.rows} test rows"
