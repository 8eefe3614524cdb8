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


def _folder_of(runs: str) -> Path:
    from kep.engines.local.mirror import folder_of

    return folder_of(runs)


RunFilePath = Annotated[Path, typer.Argument(metavar="FILE", help="The run file, YAML.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as search.max_trials=5."),
]
Runs = Annotated[Path, typer.Option(parser=_folder_of, metavar="FOLDER", help="Folder of all runs, local or gs://.")]
AnyTarget = Literal["local", "vertex", "kubeflow"]
Target = Annotated[Literal["vertex", "kubeflow"], typer.Option(envvar="KEP_TARGET", help="Where it runs.")]
Anywhere = Annotated[
    AnyTarget | None,
    typer.Option(
        "--target",
        envvar="KEP_TARGET",
        help="Where to look; vertex where a project is given, kubeflow where a host is.",
    ),
]
Project = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_PROJECT", help="vertex: the project's id.")]
Region = Annotated[str, typer.Option(envvar="GOOGLE_CLOUD_REGION", help="vertex: such as europe-west4.")]
Bucket = Annotated[
    str,
    typer.Option(
        metavar="GS://…", envvar="KEP_BUCKET", help="vertex: takes the artifacts and the champions, gs://BUCKET/…."
    ),
]
Host = Annotated[
    str, typer.Option(metavar="URL", envvar="KF_PIPELINES_ENDPOINT", help="kubeflow: of Kubeflow Pipelines.")
]
Namespace = Annotated[str, typer.Option(help="kubeflow: yours, on a server for several users.")]
Experiment = Annotated[str, typer.Option(help="kubeflow: that runs belong to; one of the run file's name by default.")]
What = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A run file; what `kep batch --compile` wrote; or a template: https://…-kfp.pkg.dev/…, gs://….",
    ),
]
Images = Annotated[Path, typer.Option(help="The lock of the images.")]
Account = Annotated[str, typer.Option(metavar="NAME", help="Service account that the steps run as.")]
Network = Annotated[
    str,
    typer.Option(
        metavar="NETWORK",
        help="vertex: to peer with, projects/NUMBER/global/networks/NAME; or a network attachment to join one by.",
    ),
]
Key = Annotated[str, typer.Option("--kms-key", help="vertex: encrypts what a run makes, projects/…/cryptoKeys/K.")]
Board = Annotated[
    str,
    typer.Option(
        metavar="INSTANCE", help="vertex: that trainings write to, projects/P/locations/R/tensorboards/ID; none."
    ),
]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="vertex: a label; may be repeated.")
]
Policy = Annotated[
    Literal["slow", "fast"],
    typer.Option(help="vertex: after a failed step, slow runs what still can, fast starts no further step."),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or a run file's name for its newest run.")]
Yes = Annotated[bool, typer.Option("--yes", help="Also when a run would cost more than hardware.max_cost.")]


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
