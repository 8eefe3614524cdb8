"""evaluate: the one look at the test rows, and the ensemble as one artifact."""

from typing import List

from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from kep.runtime.component import step


@step
def evaluate(
    config: str,
    asked: str,
    champion: str,
    seed: int,
    code: str,
    records: Input[Dataset],
    test: Input[Dataset],
    study: Input[Artifact],
    results: Input[List[Artifact]],
    weights: Input[Artifact],
    members: Input[List[Model]],
    ensemble: Output[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    classification: Output[ClassificationMetrics],
    report: Output[HTML],
) -> None:
    """Scores every member, the plain average and the ensemble on the test rows.

    Args:
        config: JSON of the run file's `evaluate`.
        asked: JSON of the whole run file, for the report.
        champion: JSON: the champion's folder, and the version to compare with or null.
        seed: Seed of the run.
        code: Hash of the code that runs, part of the cache key.
        records: Folder with manifest.json and the shards of train and validation rows.
        test: The sealed test rows, opened here alone.
        study: Output of tune.
        results: Outputs of best_epoch, one folder per candidate.
        weights: Output of weigh.
        members: Outputs of retrain, one folder per member.
        ensemble: Members, weights and the meaning of raw features, with one `predict`.
        evaluation: Metrics with intervals, test predictions, the role ledger, and the report.
        metrics: The ensemble's test metrics, for the pipeline's page.
        classification: Confusion matrix and ROC curve, for the pipeline's page.
        report: The report as one offline page.
    """
    from pathlib import Path

    from kep.components.evaluate.evaluate import Inputs, run
    from kep.components.evaluate.kfp_artifacts import log

    inputs = Inputs(
        records=Path(records.path),
        test=Path(test.path),
        study=Path(study.path),
        results=[Path(result.path) for result in results],
        weights=Path(weights.path),
        members=[Path(member.path) for member in members],
    )
    done = run(
        out=evaluation.path,
        inputs=inputs,
        ensemble=ensemble.path,
        config=config,
        asked=asked,
        champion=champion,
        seed=seed,
        code=code,
    )
    log(done, evaluation.path, metrics, classification, report)
