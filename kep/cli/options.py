"""Options and arguments that several commands share, and the console that all of them write to."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from kep.core.console import plain_console

console = plain_console()

LOCK = Path("containers/images.lock.yaml")

PREPARE, HERE, RESULTS = "Prepare a run", "Run on this machine", "Read results"
USE, CLOUD = "Use an ensemble", "Run on Vertex AI or Kubeflow"
PANELS = {PREPARE: "prepare", HERE: "run", RESULTS: "results", CLOUD: "cloud", USE: "use"}
"""Groups of commands in `kep --help`, in order, and the end of the name of each one's page in docs/reference."""


def _folder_of(runs: str) -> Path:
    from kep.engines.local.mirror import folder_of

    return folder_of(runs)


RunFilePath = Annotated[Path, typer.Argument(metavar="FILE", help="The run file, YAML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a setting, such as search.max_trials=5; may be repeated."
    ),
]
Runs = Annotated[Path, typer.Option(parser=_folder_of, metavar="FOLDER", help="Folder of all runs, local or gs://.")]
AnyTarget = Literal["local", "vertex", "kubeflow"]
Target = Annotated[Literal["vertex", "kubeflow"], typer.Option(envvar="KEP_TARGET", help="Where to run.")]
Anywhere = Annotated[
    AnyTarget | None,
    typer.Option(
        "--target",
        envvar="KEP_TARGET",
        help="Where to look; a project implies vertex, a host implies kubeflow.",
    ),
]
Project = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="vertex: project id.")]
Region = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_REGION", help="vertex: region, such as europe-west4.")]
Bucket = Annotated[
    str,
    typer.Option(
        metavar="GS://…", envvar="KEP_BUCKET", help="vertex: folder for artifacts and champions, gs://BUCKET/…."
    ),
]
Host = Annotated[
    str, typer.Option(metavar="URL", envvar="KF_PIPELINES_ENDPOINT", help="kubeflow: address of Kubeflow Pipelines.")
]
Namespace = Annotated[str, typer.Option(help="kubeflow: your namespace, on a multi-user server.")]
Experiment = Annotated[str, typer.Option(help="kubeflow: experiment of the run; named after the run file by default.")]
What = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A run file, a pipeline of `kep batch --compile`, or a template at https://…-kfp.pkg.dev/… or gs://….",
    ),
]
Images = Annotated[Path, typer.Option(help="Lock file of the images.")]
Account = Annotated[str, typer.Option(metavar="NAME", help="Service account that the steps run as.")]
Network = Annotated[
    str,
    typer.Option(
        metavar="NETWORK",
        help="vertex: network to peer with, projects/NUMBER/global/networks/NAME, or a network attachment.",
    ),
]
Key = Annotated[str, typer.Option("--kms-key", help="vertex: KMS key that encrypts the run, projects/…/cryptoKeys/K.")]
Board = Annotated[
    str,
    typer.Option(
        metavar="INSTANCE",
        help="vertex: TensorBoard instance of the trainings, projects/P/locations/R/tensorboards/ID.",
    ),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="vertex: label of the run; may be repeated.")
]
Policy = Annotated[
    Literal["slow", "fast"],
    typer.Option(help="vertex: after a failed step, slow runs the steps that do not need it, fast starts none."),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or a run file's name for its newest run.")]
Yes = Annotated[bool, typer.Option("--yes", help="Go on although a run would cost more than hardware.max_cost.")]


_GREETINGS = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IW]0000 00:00:|\d{4}-\d\d-\d\d [\d:.]+: [IW] |"
    rb"To enable the following instructions"
)
"""How lines begin that TensorFlow writes when it is imported, whatever its log level."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep TensorFlow's greetings from the standard error; everything else that is written there passes."""
    kept = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)

    def forward() -> None:
        with open(reading, "rb") as lines:
            for line in lines:
                if not _GREETINGS.match(line):
                    os.write(kept, line)

    thread = threading.Thread(target=forward)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)  # closes the pipe's last writing end, which ends the thread
        thread.join()
        os.close(kept)
