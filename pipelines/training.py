"""The training pipeline: what the README's picture shows, in code."""

from contextlib import nullcontext
from typing import Any, List, NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model

from kep.components.best_epoch.component import best_epoch
from kep.components.evaluate.component import evaluate
from kep.components.notify_failure.component import notify_failure
from kep.components.promote.component import promote
from kep.components.retrain.component import retrain
from kep.components.tune.component import suggest, trial, tune
from kep.components.weigh.component import weigh
from kep.pipelines.ingest import ingested
from kep.pipelines.retries import retried

RETRIES = 3
"""Times that an engine starts a training again that a machine lost; it goes on from its last checkpoint."""


class Outcome(NamedTuple):
    """Outputs of a training."""

    ensemble: Model
    evaluation: Artifact
    verdict: Artifact


# A loop lives alone in a pipeline of its own, and whatever its body reads enters as that pipeline's input: kfp.local
# gives a loop's body wrong values, without an error, for outputs of other tasks (pipelines/lint.py refuses such
# shapes).


@dsl.pipeline(name="trials")
def trials(
    orders: List[str],
    families: str,
    config: str,
    hardware: str,
    seed: int,
    code: str,
    records: Input[Dataset],
) -> List[Artifact]:
    """One task per trial of a round."""
    with dsl.ParallelFor(orders) as order:
        one = trial(
            order=order, families=families, config=config, hardware=hardware, seed=seed, code=code, records=records
        )
        retried(one, RETRIES)
    return dsl.Collected(one.outputs["record"])


@dsl.pipeline(name="best-epochs")
def best_epochs(
    candidates: List[str],
    families: str,
    config: str,
    batch_size: int,
    hardware: str,
    seed: int,
    code: str,
    records: Input[Dataset],
) -> List[Artifact]:
    """One task per candidate."""
    with dsl.ParallelFor(candidates) as candidate:
        one = best_epoch(
            candidate=candidate,
            families=families,
            config=config,
            batch_size=batch_size,
            hardware=hardware,
            seed=seed,
            code=code,
            records=records,
        )
        retried(one, RETRIES)
    return dsl.Collected(one.outputs["result"])


@dsl.pipeline(name="retrains")
def retrains(
    members: List[str],
    families: str,
    config: str,
    batch_size: int,
    hardware: str,
    seed: int,
    code: str,
    records: Input[Dataset],
    weights: Input[Artifact],
) -> List[Model]:
    """One task per member."""
    with dsl.ParallelFor(members) as member:
        one = retrain(
            member=member,
            families=families,
            config=config,
            batch_size=batch_size,
            hardware=hardware,
            seed=seed,
            code=code,
            records=records,
            weights=weights,
        )
        retried(one, RETRIES)
    return dsl.Collected(one.outputs["model"])


def search(rounds: int | None, families: Any, config: Any, hardware: Any, seed: Any, code: Any, records: Any) -> Any:
    """The search as one task, or in rounds whose trials are tasks."""
    common = {"families": families, "config": config, "seed": seed, "code": code, "records": records}
    before: dict[str, Any] = {}
    for _ in range(rounds or 0):
        suggested = suggest(**common, **before)
        one_round = trials(orders=suggested.outputs["Output"], hardware=hardware, **common)
        before = {"searched": suggested.outputs["search"], "trials": one_round.output}
    return retried(tune(hardware=hardware, **common, **before), RETRIES)


def training(rounds: int | None = None, ingest_tasks: int = 1, exits: bool = False) -> Any:
    """The pipeline.

    Args:
        rounds: Rounds of the search (`search.rounds`); None for a search in one task.
        ingest_tasks: Tasks that share the source (`data.ingest_tasks`).
        exits: Whether an exit handler tells of a failure. Such a pipeline has no outputs.
    """

    def training(
        asked: str,
        seed: int,
        data: str,
        families: str,
        search_config: str,
        best_epoch_config: str,
        batch_size: int,
        ensemble: str,
        retrain_config: str,
        evaluate_config: str,
        promote_config: str,
        tune_hardware: str,
        best_epoch_hardware: str,
        retrain_hardware: str,
        champion: str,
        notify_config: str = "",
        source: str = "",
        ingest_code: str = "",
        tune_code: str = "",
        best_epoch_code: str = "",
        weigh_code: str = "",
        retrain_code: str = "",
        evaluate_code: str = "",
        promote_code: str = "",
        server_image: str = "",
        force: bool = False,
    ) -> Outcome:
        """The whole flow; each section of the run file is one JSON string (pipelines/parameters.py)."""
        handler: Any = nullcontext()
        if exits:
            handler = dsl.ExitHandler(
                notify_failure(notify=notify_config, champion=champion).set_caching_options(False)
            )
        with handler:
            rows = ingested(ingest_tasks, data, source, seed, ingest_code)
            records = rows.outputs["records"]
            tuned = search(rounds, families, search_config, tune_hardware, seed, tune_code, records)
            results = best_epochs(
                candidates=tuned.outputs["Output"],
                families=families,
                config=best_epoch_config,
                batch_size=batch_size,
                hardware=best_epoch_hardware,
                seed=seed,
                code=best_epoch_code,
                records=records,
            )
            weighed = weigh(
                config=ensemble,
                retrain=retrain_config,
                seed=seed,
                code=weigh_code,
                results=results.output,
                records=records,
            )
            members = retrains(
                members=weighed.outputs["Output"],
                families=families,
                config=retrain_config,
                batch_size=batch_size,
                hardware=retrain_hardware,
                seed=seed,
                code=retrain_code,
                records=records,
                weights=weighed.outputs["weights"],
            )
            evaluated = evaluate(
                config=evaluate_config,
                asked=asked,
                champion=champion,
                seed=seed,
                code=evaluate_code,
                records=records,
                test=rows.outputs["test"],  # which no other step gets
                study=tuned.outputs["study"],
                results=results.output,
                weights=weighed.outputs["weights"],
                members=members.output,
            )
            # Its outcome depends on the champion of the moment and it moves the pointer: never answered from a cache.
            promoted = promote(
                config=promote_config,
                champion=champion,
                force=force,
                code=promote_code,
                server_image=server_image,
                notify=notify_config,
                ensemble=evaluated.outputs["ensemble"],
                evaluation=evaluated.outputs["evaluation"],
            ).set_caching_options(False)
        result: Any = None
        if not exits:
            result = Outcome(
                ensemble=evaluated.outputs["ensemble"],
                evaluation=evaluated.outputs["evaluation"],
                verdict=promoted.outputs["verdict"],
            )
        return result

    if exits:
        del training.__annotations__["return"]  # kfp takes no outputs out of an exit handler
    described = "A data set and a search space in, an honestly weighted ensemble out."
    return dsl.pipeline(name="training", description=described)(training)
