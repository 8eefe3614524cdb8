"""The decision whether the new ensemble becomes champion, and the move of the pointer if it does."""

from collections.abc import Sequence
from pathlib import Path

from kep.artifacts.engine_run import EngineRun
from kep.artifacts.evaluation import Evaluation
from kep.artifacts.verdict import Rule, Verdict
from kep.components.promote.rules import judge
from kep.components.promote.told import tell_verdict
from kep.config.notify import NotifyTask
from kep.config.promote import PromoteSettings
from kep.runtime.notify import leave_verdict
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
    engine: EngineRun = EngineRun(),
    notify: str = "",
) -> None:
    """Writes `verdict.json` and, on a win, copies the ensemble beside the champion and moves the pointer to it.

    Args:
        step: This execution.
        ensemble: Folder of the challenger.
        evaluation: Folder that `evaluate` wrote.
        config: JSON of `PromoteSettings`.
        champion: JSON of `Champion`.
        force: Promote whatever the comparison says; recorded in the verdict.
        engine: The run on Vertex AI or Kubeflow, by which the Model Registry is found.
        notify: JSON of `NotifyTask`: who is told of the decision; nobody when empty.

    Raises:
        UserError: The version can't be written, or the Model Registry refuses it.
    """
    settings = PromoteSettings.model_validate_json(config)
    task = NotifyTask.model_validate_json(notify) if notify else None
    evaluated = Evaluation.load(evaluation)
    given = champions.Champion.of_parameter(champion)
    given.check_lasting()
    compared, metric = evaluated.champion, settings.metric or "loss"
    rules = judge(evaluated, settings, metric)
    for rule in rules:
        step.progress(f"{rule.rule}: {'held' if rule.held else 'not held'}: {rule.reason}")
    won, reason = decide(rules)
    pointer, own = champions.read(given.folder), content_version(Path(ensemble))
    against = compared.champion if compared else None
    replaced, moved = against and against.rpartition("/")[2], pointer.promotion
    unchanged = False
    if moved and (moved.version, moved.replaced) == (own, replaced):
        # A retry of a task that was lost after it had moved the pointer.
        promoted, won, reason = True, not moved.forced, moved.reason
    else:
        if pointer.champion != against:
            won, reason = False, "another ensemble became champion during this run; run again to compare with it"
        if pointer.version == own:
            won, unchanged, reason = False, True, "this very ensemble is the champion already"
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

        place = champions.version_folder(given.folder, own)
        registered = register(engine.job, place, engine.server_image, evaluated, reason)
        step.progress(f"registered {registered}" if registered else "not registered: this run is not on Vertex AI")
    verdict = Verdict(
        promoted=promoted,
        won=won,
        forced=force and not won,
        reason=reason,
        metric=metric,
        rules=rules,
        comparison=compared,
        version=own,
        folder=given.folder,
        unchanged=unchanged and not promoted,
        registered=registered,
    )
    verdict.save(step.out)
    leave_verdict(verdict, engine, step.progress)
    if task:
        tell_verdict(task, verdict, against, engine, Path(evaluation), step.progress)


def decide(rules: Sequence[Rule]) -> tuple[bool, str]:
    """Return whether every rule holds, and the reason of the rule that decided.

    That is the first one that does not hold, or the comparison with the champion, which is the last.
    """
    broken = [rule for rule in rules if not rule.held]
    if not broken:
        return True, rules[-1].reason
    more = len(broken) - 1
    told = f"; {more} more rule{'s do' if more > 1 else ' does'} not hold" if more else ""
    return False, broken[0].reason + told
