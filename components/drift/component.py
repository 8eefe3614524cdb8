"""drift: the rows that were predicted against those that the model was trained on; `drift_gate` can end the run."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from kep.runtime.component import step


@step
def drift(
    config: str,
    code: str,
    model: Input[Model],
    predictions: Input[Dataset],
    comparison: Output[Artifact],
    metrics: Output[Metrics],
    page: Output[HTML],
) -> None:
    """Compares the rows that were predicted, and the predictions, with what travels with the model.

    Args:
        config: JSON of DriftSettings.
        code: Hash of the code that runs, part of the cache key.
        model: Folder of an ensemble, or of champions.
        predictions: Output of predict_join.
        comparison: Folder with drift.json and drift.html.
        metrics: Rows, how much has drifted, and the largest indices, for the pipeline's page.
        page: The comparison as one offline page.
    """
    from kep.components.drift.run import run
    from kep.runtime.kfp_artifacts import log_metrics, show

    done = run(out=comparison.path, model=model.path, predictions=predictions.path, config=config, code=code)
    log_metrics(metrics, done)
    show(page, f"{comparison.path}/drift.html")


@step
def drift_gate(config: str, code: str, comparison: Input[Artifact], verdict: Output[Artifact]) -> None:
    """Fails if something has drifted beyond the threshold, and the settings say that this is to fail.

    Args:
        config: JSON of DriftSettings.
        code: Hash of the code that runs, part of the cache key.
        comparison: Output of drift.
        verdict: Names of what has drifted.
    """
    from kep.components.drift.run import gate

    gate(out=verdict.path, comparison=comparison.path, config=config, code=code)
