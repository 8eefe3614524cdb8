"""A pipeline of one's own: `ingest` and `tune` as components, and a step of one's own behind them.

    python examples/own_pipeline/pipeline.py

runs it on this machine. `--compile FILE` writes the YAML that Kubeflow Pipelines and Vertex AI take.
"""

import argparse
from pathlib import Path

from kfp import compiler, dsl, local
from kfp.dsl import Artifact, Dataset, Input

from kep.components.ingest.component import ingest
from kep.components.tune.component import tune
from kep.config.run_file import validate
from kep.pipelines.parameters import arguments

ASKED = validate(
    {
        "name": "own-pipeline",
        "data": {"source": "sklearn:breast_cancer"},
        "search": {"families": ["mlp", "boosted_trees"], "max_trials": 4, "max_epochs": 5, "top_n": 2},
    }
)
"""Settings as in a run file, validated in the same way; the steps get each section as one JSON string."""


@dsl.component(base_image="keras-ensemble-pipelines/cpu", install_kfp_package=False)
def winners(study: Input[Artifact], records: Input[Dataset]) -> str:
    """Says which candidates the search found, and on how many rows."""
    from kep.artifacts.study import Study
    from kep.data.schema import Manifest

    rows = Manifest.load(records.path).roles["train"].rows
    found = Study.load(study.path).candidates
    told = ", ".join(f"{one.id} with a validation loss of {one.loss:.4f}" for one in found)
    print(f"trained on {rows} rows: {told}")
    return told


@dsl.pipeline(name="own-pipeline", description="A search without an ensemble, and a step of one's own.")
def own_pipeline(data: str, families: str, search: str, hardware: str, seed: int) -> str:
    """Search the best candidates for a data set.

    Args:
        data: JSON of `kep.config.data.DataSettings`.
        families: JSON of `kep.models.registry.travelling`, which carries a family of one's own with its source.
        search: JSON of `kep.config.search.SearchSettings`.
        hardware: JSON of `kep.config.hardware.TuneHardware`.
        seed: Every random choice follows from it.
    """
    # An empty hash says that the pipeline was not started by `kep`: the steps then look at their own code alone.
    rows = ingest(config=data, source="", seed=seed, code="")
    found = tune(
        families=families, config=search, hardware=hardware, seed=seed, code="", records=rows.outputs["records"]
    )
    told = winners(study=found.outputs["study"], records=rows.outputs["records"])
    return told.output


def main() -> None:
    """Run the pipeline here, or compile it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--compile", type=Path, metavar="FILE", help="write the pipeline as YAML, and run nothing")
    file = parser.parse_args().compile
    if file is not None:
        compiler.Compiler().compile(own_pipeline, str(file))
        return
    given = arguments(ASKED, Path.cwd(), "champions")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root="own-pipeline-outputs")
    done = own_pipeline(
        data=given["data"],
        families=given["families"],
        search=given["search_config"],
        hardware=given["tune_hardware"],
        seed=given["seed"],
    )
    print(done.output)


if __name__ == "__main__":
    main()
