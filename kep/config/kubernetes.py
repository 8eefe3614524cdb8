"""Rules of Kubernetes and Kubeflow Pipelines for names, paths, labels, taints and variables.

Kubeflow names a pod's volume as the claim or the secret that it is of, so that these follow the rules of its labels.
"""

import re
from collections.abc import Iterator, Mapping

from kep.core.environment import ATTEMPTS, BEGUN, CLUSTER, EVENTS, FAILURE, OWNER, PARALLEL, WORK

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
_ENGINES = ("/gcs", "/minio", "/s3", "/kfp-launcher", "/.local", "/.cache", "/.config")
"""Folders that Kubeflow's launcher mounts."""
_TOKEN = "/var/run"
"""Folder under which Kubernetes mounts the token that the launcher logs in with."""
_PROGRAMS = ("/app", "/bin", "/lib", "/lib64", "/sbin", "/usr/bin", "/usr/lib", "/usr/local/bin", "/usr/local/lib")
"""Folders of the image of which a task needs all that is in them."""
_IMAGE = ("/dev", "/etc", "/proc", "/root", "/run", "/sys", "/tmp", "/usr", "/usr/local")
"""Folders of the image that a task needs as they are; /tmp is the one that it may write to."""
_VOLUMES = {
    "kfp-launcher",
    *(f"{name}-scratch" for name in ("gcs", "s3", "minio", "dot-local", "dot-cache", "dot-config")),
}
"""Volumes that Kubeflow gives each pod."""
_OURS = {ATTEMPTS, BEGUN, CLUSTER, EVENTS, FAILURE, OWNER, PARALLEL, WORK}
_KUBEFLOWS = ("KFP_", "ARGO_", "KUBERNETES_")
"""Begins of variables that Kubeflow's launcher, Argo and Kubernetes tell a task's container by."""
_SYSTEM = {"HOME", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "PYTHONHOME", "PYTHONPATH", "TMPDIR", "_KFP_RUNTIME"}
"""Variables without which nothing in the image starts."""


def mounts(volumes: Mapping[str, str], secrets: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with the volumes and secrets of a task, for people.

    Args:
        volumes: Path by claim.
        secrets: Path by secret.
    """
    for key, mounted in (("volumes", volumes), ("secrets", secrets)):
        for name, path in mounted.items():
            yield from _name(key, name)
            if name in _VOLUMES:
                yield f'{key}: Kubeflow has a volume "{name}" of its own in each task; take another name'
            yield from _path(path)
    for name in sorted(volumes.keys() & secrets.keys()):
        yield f'"{name}" is in both volumes and secrets, and a task has one volume of a name; rename one of them'
    paths = [path.rstrip("/") for path in [*volumes.values(), *secrets.values()]]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        yield f'"{path}" is mounted more than once; give each its own path'


def variables(secrets: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield what is wrong with the variables that a task gets from secrets, for people.

    Args:
        secrets: Variable by key, by secret.
    """
    taken: set[str] = set()
    for name, keys in secrets.items():
        yield from _name("secret_variables", name)
        for key, variable in keys.items():
            if not _KEY.fullmatch(key):
                yield f'secret_variables.{name}: "{key}" is not a valid key of a secret: letters, digits, -, _ and .'
            if not _VARIABLE.fullmatch(variable):
                yield (
                    f'secret_variables.{name}.{key}: "{variable}" is not a valid variable; give letters, digits and '
                    "_, and no digit first"
                )
            elif variable in _SYSTEM | _OURS or variable.startswith(_KUBEFLOWS):
                yield f"secret_variables.{name}.{key}: a task needs {variable} as it is; take another variable"
            elif variable in taken:
                yield f"secret_variables.{name}.{key}: {variable} is set more than once; give each its own variable"
            taken.add(variable)


def labels(selector: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with the labels that a node must have, for people."""
    for key, value in selector.items():
        yield from _label("node_selector", key)
        if not _VALUE.fullmatch(value):
            yield f'node_selector.{key}: "{value}" is not a valid label value: at most 63 letters, digits, -, _ and .'


def toleration(key: str | None, operator: str, value: str | None) -> Iterator[str]:
    """Yield what is wrong with a toleration, for people."""
    if key:
        yield from _label("key", key)
    elif operator == "Equal":
        yield "operator: Equal needs the key of the taint; name it, or give operator: Exists for every taint"
    if operator == "Exists" and value:
        yield f'operator: Exists takes no value, and "{value}" is given; remove it, or give operator: Equal'
    if value and not _VALUE.fullmatch(value):
        yield f'value: "{value}" is not a valid taint value: at most 63 letters, digits, -, _ and .'


def _name(key: str, name: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield f'{key}: "{name}" is not a valid Kubernetes name; give at most 63 lower-case letters, digits and dashes'


def _path(path: str) -> Iterator[str]:
    parts = path.rstrip("/").split("/")
    if not path.startswith("/"):
        yield f'"{path}" is not an absolute path in the task, such as /champions'
    elif not path.strip("/"):
        yield '"/" would hide the image itself; give a folder of its own, such as /champions'
    elif ":" in path or {"", ".", ".."} & set(parts[1:]) or not path.isprintable():
        shown = path.encode("unicode_escape").decode()
        yield f'"{shown}" is not a valid mount path; give one without "//", ".." and ":", such as /champions'
    elif path.rstrip("/") == "/var" or _within(path, _TOKEN):
        yield f'"{path}" would hide what Kubernetes mounts in {_TOKEN}; give another path, such as /champions'
    elif taken := next((one for one in _ENGINES if _within(path, one)), None):
        yield f'"{path}": Kubeflow mounts {taken} in each task; give another path, such as /champions'
    elif taken := next((one for one in _PROGRAMS if _within(path, one)), "") or (
        path.rstrip("/") if path.rstrip("/") in _IMAGE else ""
    ):
        yield f'"{path}" would hide {taken} of the image, which a task needs; give another path, such as /champions'
    elif taken := next((one for one in ("/dev", "/proc", "/sys") if _within(path, one)), None):
        yield f'"{path}" is in {taken}, which is the machine\'s; give another path, such as /champions'


def _label(where: str, key: str) -> Iterator[str]:
    if not _LABEL.fullmatch(key):
        yield f'{where}: "{key}" is not a valid label; give letters, digits, -, _ and ., such as example.com/pool'


def _within(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")
