"""The pipeline as Vertex AI gets it: compiled from a run file, or a template that was published before."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kep.config.data import DataSettings
from kep.config.prediction import PredictSettings
from kep.config.run_file import RunFile, load, validate
from kep.core.environment import PAYER
from kep.core.errors import UserError, first_line
from kep.core.location import Location
from kep.engines.earlier import in_cloud, resolved
from kep.engines.rehearsal import rehearse
from kep.google.retries import STORAGE
from kep.pipelines.compile import cache_ingest
from kep.pipelines.images import unpinned, with_server
from kep.pipelines.machines import Target
from kep.pipelines.parameters import arguments, codes, kfp_safe, whole_code
from kep.pipelines.sizes import check as check_size
from kep.pipelines.steps import STEPS
from kep.storage.champions import Champion

REPOSITORY = re.compile(r"https://[a-z0-9-]+-kfp\.pkg\.dev/[^/]+/[^/]+")
_ADDRESS = re.compile(rf"({REPOSITORY.pattern})/([^/]+)/([^/]+)")
REGISTRY_RETRY: dict[str, Any] = {"initial": 0.5, "maximum": 5.0, "multiplier": 2.0, "timeout": 20.0}
"""Pauses between tries of a registry that is busy or away, and how long they go on, in seconds."""
_VERSION = re.compile(r"sha256:[0-9a-f]{64}")
_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^/]+)*")


@dataclass(frozen=True)
class Template:
    """A compiled pipeline.

    Attributes:
        spec: Its first YAML document.
        address: In Artifact Registry, by digest; empty for one from elsewhere.
        platform: Its second one, which only Kubeflow takes; empty for none.
    """

    spec: dict[str, Any]
    address: str = ""
    platform: dict[str, Any] = field(default_factory=dict)

    @property
    def defaults(self) -> dict[str, Any]:
        """Defaults of its inputs, by name."""
        inputs = self.spec["root"]["inputDefinitions"]["parameters"]
        return {name: given["defaultValue"] for name, given in inputs.items() if "defaultValue" in given}

    @property
    def volumes(self) -> dict[str, str]:
        """Where tasks have volumes, by claim; none on Vertex AI."""
        platforms = self.platform.get("platforms", {})
        executors = platforms.get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
        mounts = [mount for executor in executors.values() for mount in executor.get("pvcMount", [])]
        return {str(mount["constant"]): mount["mountPath"] for mount in mounts}

    @property
    def code(self) -> str:
        """Hash of the code of its steps, which it was compiled with; empty for a template that names none."""
        return whole_code(self.defaults)

    @property
    def predicts(self) -> bool:
        """True if it predicts with a model, as `kep batch --compile` writes it, and trains none."""
        return "predict_config" in self.defaults

    @property
    def name(self) -> str:
        """Name of the run file; of a prediction, the name of the model."""
        if self.predicts:
            model = self.defaults["model"].rstrip("/").rpartition("/")[2].lower()
            return re.sub("[^a-z0-9]+", "-", f"predict-{model}")[:50].strip("-")
        return self.settings.name

    @property
    def data(self) -> DataSettings:
        if self.predicts:
            return PredictSettings.model_validate_json(self.defaults["predict_config"]).data
        return DataSettings.model_validate_json(self.defaults["data"])

    @property
    def data_in_reach(self) -> bool:
        """True if whoever submits it can read the data: not those on a cluster's volume."""
        return not any(location.is_local for location in self.data.locations.values())

    @property
    def settings(self) -> RunFile:
        """The run file that it was compiled from."""
        return validate(json.loads(self.defaults["asked"]))

    @property
    def champion(self) -> Champion:
        """The champion that it was compiled with; one without a folder where that is the run's bucket."""
        given = self.defaults.get("champion")
        return Champion.of_parameter(given) if given else Champion(folder="")

    @property
    def digest(self) -> str:
        """sha256 of its content, whatever the order of its keys: images by digest, arguments and code are in it."""
        content = [self.spec, self.platform] if self.platform else self.spec
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def of_run_file(
    file: Path, overrides: list[str] | None, images: Mapping[str, str], target: Target = "vertex"
) -> Template:
    """Compiles the pipeline of a run file.

    Args:
        file: The run file.
        overrides: As of `load`.
        images: By name, with their digests.
        target: Where it will run.

    Raises:
        UserError: The run file has mistakes, or needs something of this machine.
    """
    from kep.pipelines.compile import compile_training

    settings = resolved(load(file, overrides), file.parent, in_cloud)
    machines = settings.hardware.machines
    check_source(
        settings.data, machines["ingest"].volumes if target == "kubeflow" and "ingest" in machines else {}, target
    )
    champion = Champion(folder=_champion(settings, target))
    given = arguments(settings, file.parent, Path("champions"))
    given |= codes(STEPS) | {"champion": kfp_safe(champion.to_json())}
    given = with_server(given, images, target)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compile_training(path, given, images, machines, target)
        spec, *platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    template = Template(spec, platform=platform[0] if platform else {})
    if template.data_in_reach:
        rehearse(settings, file.parent)
    return template


def of_address(address: str, credentials: Any) -> Template:
    """Reads a template from Artifact Registry or Cloud Storage, and checks what `of_run_file` sees to.

    Raises:
        UserError: There is none, it is not of this package, or it needs what the cloud hasn't.
    """
    if Location(address).is_cloud:
        text, resolved = _object(address, credentials), ""
    elif match := _ADDRESS.fullmatch(address):
        text, resolved = _package(match[1], match[2], match[3], credentials)
    else:
        raise UserError(
            f'"{address}" is no template; give gs://BUCKET/NAME.yaml or '
            "https://REGION-kfp.pkg.dev/PROJECT/REPOSITORY/NAME/TAG"
        )
    return _checked(Template(_spec(text, address), resolved), address, "vertex")


def of_compiled(file: Path, target: Target = "vertex") -> Template | None:
    """A pipeline that `kep batch --compile` wrote to a file here; None for any other YAML, such as a run file.

    Raises:
        UserError: It needs what the target hasn't.
    """
    try:
        spec, *platform = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None  # the reader of run files says what is wrong
    if not isinstance(spec, dict) or "pipelineInfo" not in spec:
        return None
    return _checked(Template(spec, platform=platform[0] if platform else {}), str(file), target)


def _checked(template: Template, where: str, target: Target) -> Template:
    try:
        data = template.data
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where} is not a pipeline that `kep compile` or `kep publish` wrote") from error
    if image := unpinned(template.spec):
        raise UserError(f"{where} runs {image}, which is not pinned by its digest; compile it with --target {target}")
    check_source(data, template.volumes, target)
    check_size(template.spec, template.platform, target)
    return template


def publish(template: Template, repository: str, tags: list[str], credentials: Any) -> str:
    """Uploads a template to a repository of Artifact Registry.

    Returns:
        Its address, by digest.

    Raises:
        UserError: `repository` or a tag can't be any, the registry refuses it, or a tag names another template.
    """
    if not REPOSITORY.fullmatch(repository):
        raise UserError(
            f'--repository: "{repository}" is not a KFP repository; give https://REGION-kfp.pkg.dev/PROJECT/REPOSITORY'
        )
    for tag in tags:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,127}", tag):
            raise UserError(f'--tag: "{tag}" must be lower-case letters, digits and dashes, a letter first')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(yaml.safe_dump(template.spec, sort_keys=True), encoding="utf-8")

        def upload(client: Any) -> tuple[str, str]:
            try:
                package, version = client.upload_pipeline(str(path), tags)
            except ValueError as error:  # more or fewer parts than a package and its version
                raise _no_version(repository) from error
            if not _VERSION.fullmatch(version):
                raise _no_version(repository)
            return package, version

        try:
            package, version = _registry(repository, upload, credentials)
        except ThereAlreadyError:
            # Of a build that is done again, or of a request whose answer was lost.
            package, version = _same(template, repository, tags, credentials)
    return f"{repository}/{package}/{version}"


class ThereAlreadyError(UserError):
    """The same template, or a tag, is in the repository already."""


def _no_version(repository: str) -> UserError:
    return UserError(
        f"{repository}: nothing was published: what answers there is no registry, or a login page in front of one; "
        'check the address, and run "gcloud auth application-default login"'
    )


def _same(template: Template, repository: str, tags: list[str], credentials: Any) -> tuple[str, str]:
    """Return package and version of this very template, which every tag names already.

    Raises:
        UserError: A tag names another template, or none was given by which the template could be looked at.
    """
    package, found = str(template.spec["pipelineInfo"]["name"]), ""
    for tag in tags:
        text, address = _package(repository, package, tag, credentials)
        if yaml.safe_load(text) != template.spec:
            raise UserError(
                f'--tag: "{tag}" names another template in {repository}, and can\'t be moved; choose another'
            )
        found = address.rpartition("/")[2]
    if not found:
        raise UserError(f"{repository}: this very template is there already; give a --tag to have its address")
    return package, found


def check_bucket(location: str) -> str:
    """The location without a slash at its end.

    Raises:
        UserError: It is not a gs:// path.
    """
    bare = location.rstrip("/")
    if not _BUCKET.fullmatch(bare):
        raise UserError(f'--bucket: "{location}" is not a gs:// path; give gs://BUCKET or gs://BUCKET/FOLDER')
    return bare


def check_source(data: DataSettings, volumes: Mapping[str, str] | None = None, target: Target = "vertex") -> None:
    """Refuses data of this machine, with what would bring them to where a step can read them.

    Args:
        data: Data of the run file.
        volumes: Where the steps that read them have volumes, by claim.
        target: Where they would run.

    Raises:
        UserError: A source is neither on gs:// nor on a volume, nor a set of scikit-learn.
    """
    for key, source in data.locations.items():
        if not source.is_local or mounted(source.text, volumes or {}):
            continue
        there = f"gs://BUCKET/data/{Path(source.text).name}"
        command = f'"gcloud storage cp --recursive {source} {there}" and give {there}'
        if target == "vertex":
            raise UserError(
                f'{key}: "{source}" is on this machine, where no step on Vertex AI can read it; run {command}'
            )
        raise UserError(
            f'{key}: "{source}" is on this machine, where no step on Kubeflow can read it; give its path on a volume '
            f"of hardware.ingest.machine.volumes, or run {command}"
        )


def with_cache(spec: dict[str, Any], cache: bool) -> dict[str, Any]:
    """Return a compiled pipeline for a run with a known source: its steps answered from earlier runs, or never."""
    if not cache:
        return uncached(spec)
    spec = json.loads(json.dumps(spec))
    cache_ingest(spec, known=True)
    return spec


def with_payer(spec: dict[str, Any]) -> dict[str, Any]:
    """A compiled pipeline whose tasks name the project that pays for requests, where one is named here."""
    payer = os.environ.get(PAYER)
    return with_variable(spec, PAYER, payer) if payer else spec


def with_variable(spec: dict[str, Any], name: str, value: str) -> dict[str, Any]:
    """A compiled pipeline whose tasks have an environment variable."""
    spec = json.loads(json.dumps(spec))
    for executor in spec["deploymentSpec"]["executors"].values():
        if "container" in executor:
            container = executor["container"]
            container["env"] = [*container.get("env", []), {"name": name, "value": value}]
    return spec


def uncached(spec: dict[str, Any]) -> dict[str, Any]:
    """A compiled pipeline whose steps are never answered from earlier runs."""
    spec = json.loads(json.dumps(spec))
    dags = [spec["root"], *(component for component in spec["components"].values() if "dag" in component)]
    for dag in dags:
        for task in dag["dag"]["tasks"].values():
            task.pop("cachingOptions", None)
    return spec


def mounted(path: str, volumes: Mapping[str, str]) -> bool:
    """Return whether a path is on one of the volumes, by claim."""
    return any(Path(path).is_relative_to(place) and ".." not in path for place in volumes.values())


def _champion(settings: RunFile, target: Target) -> str:
    """The folder as the run file names it; empty for the one of the bucket that the run is submitted with.

    Raises:
        UserError: The steps can't keep a champion there.
    """
    folder, machines = settings.promote.champion or "", settings.hardware.machines
    if Location(folder).is_cloud:
        return folder
    if target == "vertex":
        if folder:
            raise UserError(
                f'promote.champion: "{folder}" is on this machine, where no step on Vertex AI can read it; give a '
                "gs:// folder, or leave it out for one in the run's bucket"
            )
        return folder
    for step in ("evaluate", "promote"):
        if not folder or not mounted(folder, machines[step].volumes if step in machines else {}):
            what = f'"{folder}" is on no volume of {step}' if folder else "is not given"
            raise UserError(
                f"promote.champion: {what}, so that the champion would be lost with its task; mount a volume, such as "
                f"hardware.{step}.machine.volumes: {{champions: /champions}}, and give a folder there, or one on gs://"
            )
    return folder


def _spec(text: str, address: str) -> dict[str, Any]:
    try:
        spec = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{address} is not one YAML document, as Vertex AI needs it") from error
    if not isinstance(spec, dict):
        raise UserError(f"{address} is no compiled pipeline")
    return spec


def _object(address: str, credentials: Any) -> str:
    import requests
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.cloud.storage import Blob, Client

    try:
        client, where = Client(project="-", credentials=credentials), Location(address)
        bucket = client.bucket(where.bucket, user_project=os.environ.get(PAYER) or None)
        blob = Blob(where.object_name, bucket)
        return str(blob.download_as_text(**STORAGE))
    except (GoogleAPICallError, RetryError, requests.RequestException, ValueError) as error:
        reasons: dict[Any, str] = {403: "may not be read with this login", 404: "does not exist"}
        said = first_line(getattr(error, "message", "") or "")
        reason = reasons.get(getattr(error, "code", None), f"can't be read{f' ({said})' if said else ''}")
        raise UserError(f"the template {address} {reason}; check the path") from error


def _package(repository: str, package: str, version: str, credentials: Any) -> tuple[str, str]:
    """A template's text, and its address by digest."""
    if not version.startswith("sha256:"):
        tag = _registry(repository, lambda client: client.get_tag(package, version), credentials)
        version = tag["version"].rpartition("/")[2]
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "pipeline.yaml")
        _registry(repository, lambda client: client.download_pipeline(package, version, file_name=path), credentials)
        return Path(path).read_text(encoding="utf-8"), f"{repository}/{package}/{version}"


def _registry(repository: str, act: Callable[[Any], Any], credentials: Any) -> Any:
    """Call `act` with kfp's client of the repository; retry errors that may pass.

    Raises:
        ThereAlreadyError: The template, or a tag, is there.
        UserError: The registry refuses it, or does not answer.
    """
    import requests
    from google.api_core.exceptions import RetryError
    from google.api_core.retry import Retry
    from kfp.registry import RegistryClient

    def passes(error: BaseException) -> bool:
        status = error.response.status_code if isinstance(error, requests.HTTPError) else 0
        return status == 429 or status >= 500 or isinstance(error, requests.ConnectionError | requests.Timeout)

    again = Retry(predicate=passes, **REGISTRY_RETRY)
    try:
        return again(act)(RegistryClient(repository, auth=credentials))
    except (requests.RequestException, RetryError) as error:
        cause = error.cause if isinstance(error, RetryError) else error
        if not isinstance(cause, requests.HTTPError):
            raise UserError(f"{repository} does not answer; try again later") from error
        status = cause.response.status_code
        if status == 409:
            raise ThereAlreadyError(f"{repository}: the same template or tag is there already") from error
        place = repository.removeprefix("https://").partition("-kfp")[0]
        command = f"gcloud artifacts repositories create NAME --repository-format=KFP --location={place}"
        sentences = {
            401: 'the login is not accepted; run "gcloud auth application-default login"',
            403: "this login may not use it; grant it roles/artifactregistry.writer, or reader to submit from it",
            404: f'it does not exist, or has no such template; a repository is made by "{command}"',
        }
        told = sentences.get(
            status, f"the registry answered {status}" + ("; try again later" if status >= 500 or status == 429 else "")
        )
        raise UserError(f"{repository}: {told}") from error
