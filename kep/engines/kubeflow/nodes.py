"""Tasks of a run, read from what Kubeflow calls its task details: the nodes of an Argo workflow.

A node is told without its own id, and many have the same name. Its children are told by their ids, and Argo makes an
id of the node's full name: `WORKFLOW-` and the FNV-1a hash of `WORKFLOW(0).root(0).tune(0).executor`. So the names of
all nodes are found from the workflow downwards, and each entry by the children that it names.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count, takewhile
from typing import Any, TypeAlias

from kep.engines.base import Task
from kep.pipelines.steps import step_of

Detail: TypeAlias = Any
"""`kfp_server_api.V2beta1PipelineTaskDetail`, whose package has no types."""
_GROUPS = re.compile(r"(for-loop|condition|condition-branches|exit-handler)-\d+")
"""Names of what groups tasks, whose numbers count nothing."""
_ROUND = ("suggest", "trials")
"""Tasks that a search in rounds repeats: the first one has no number in its name."""


@dataclass(frozen=True)
class Node:
    """A task, and where its log is.

    Attributes:
        task: The task for people.
        log: Id of the node that ran it last; empty when none has.
        driver: Whether that is Kubeflow's own driver, which failed before the task could begin.
    """

    task: Task
    log: str = ""
    driver: bool = False


@dataclass
class _Tree:
    """The nodes of a workflow by their full names.

    Attributes:
        ids: Id of each node that another one names as its child.
        names: Short name of each node.
        entries: Detail of each node that has children, or a name of its own.
    """

    ids: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    entries: dict[str, Detail] = field(default_factory=dict)

    @property
    def repeats(self) -> bool:
        """True if the controller repeats nodes, so that each has its attempts as children."""
        return any(name.endswith("(0)") for name in self.names.values())

    def attempts(self, path: str) -> list[str]:
        """Return the ids of a node's attempts, or its own where the controller repeats nothing."""
        found = (f"{path}({number})" for number in count())
        tried = [self.ids[one] for one in takewhile(self.ids.__contains__, found)]
        return tried or ([self.ids[path]] if path in self.ids and path not in self.entries else [])


def read(details: Iterable[Detail], cancelled: datetime | None = None) -> list[Node]:
    """Return the tasks of a run in the order in which they began.

    A task has a number of its own in its loop, which no later look changes. Tasks that have not begun are left out.

    Args:
        details: The run's task details, in any order.
        cancelled: When the run was cancelled; what ended later was ended by that.
    """
    tree = _tree([one for one in details if one.display_name])
    found: dict[str, list[Node]] = {}
    for path, name in tree.names.items():
        if name == "executor":
            path, node = re.sub(r"\(\d+\)$", "", path.rpartition(".")[0]), _executed(tree, path)
        elif name.endswith("-driver"):
            path, node = path.removesuffix("-driver"), _driven(tree, path)
        else:
            continue
        if node is not None:
            found.setdefault(re.sub(r"\(\d+\)", "", path), []).append(node)
    nodes = [_last(path, tries, cancelled) for path, tries in found.items()]
    return sorted(nodes, key=lambda node: (node.task.begun is None, node.task.begun, str(node.task.id)))


def _executed(tree: _Tree, executor: str) -> Node | None:
    """Return the node of a task whose driver let it run; None where it has not begun."""
    path = re.sub(r"\(\d+\)$", "", executor.rpartition(".")[0])
    own, whole = tree.entries.get(executor), tree.entries.get(path)
    attempts, entry = tree.attempts(executor), own or whole
    # Where nothing is repeated, an executor has no children that would tell its entry from others.
    begun_as_whole = ("SUCCEEDED", "FAILED") if tree.repeats else ("SUCCEEDED", "FAILED", "RUNNING")
    if entry is None or (own is None and entry.state not in begun_as_whole):
        return None
    begun, ended = moment(entry.start_time), moment(entry.end_time)
    state = entry.state or "PENDING"
    # The driver of an answer from the cache leaves nothing to execute: no pod is made, and no time passes.
    if own is None and state == "SUCCEEDED" and begun and ended and (ended - begun).total_seconds() <= 1:
        state = "SKIPPED"
    return _node(tree.names[path], state, begun, ended, attempts)


def _driven(tree: _Tree, driver: str) -> Node | None:
    """Return the node of a task that never ran since its driver failed; None where the driver did not fail."""
    entry = tree.entries.get(driver)
    if entry is None or entry.state != "FAILED":
        return None
    name = tree.names[driver].removesuffix("-driver")
    node = _node(name, "FAILED", moment(entry.start_time), moment(entry.end_time), tree.attempts(driver))
    return replace(node, driver=True)


def _node(name: str, state: str, begun: datetime | None, ended: datetime | None, attempts: list[str]) -> Node:
    task = Task(name, name, state, begun, ended, attempts=max(len(attempts), 1))
    return Node(task, attempts[-1] if attempts else "")


def _last(path: str, tries: list[Node], cancelled: datetime | None) -> Node:
    """Return the last node of a task that its graph may have restarted, under its steady name and number."""
    last = max(tries, key=lambda node: node.task.begun.timestamp() if node.task.begun else 0.0)
    task, state = last.task, last.task.state
    if cancelled and (state == "RUNNING" or (state == "FAILED" and task.ended and task.ended >= cancelled)):
        state = "CANCELLED"
    attempts = sum(node.task.attempts for node in tries)
    place = path.partition(".")[2]  # in the workflow, whose name means nothing
    task = replace(task, id=place, state=state, label=_label(place, task.name), attempts=attempts)
    return replace(last, task=task)


def _label(place: str, name: str) -> str:
    """Return the label of a task in its step: the numbers of its round and its loop, such as `trial 2.1`.

    They stand after the name of the task, where that is not the name of the step.
    """
    numbers: list[str] = []
    for part in place.split("."):
        bare, _, item = part.partition("(")
        if item:
            numbers.append(str(int(item.partition(":")[0]) + 1))
        elif bare in _ROUND:
            numbers.append("1")
        elif not _GROUPS.fullmatch(bare) and (match := re.search(r"-(\d+)$", bare)):
            numbers.append(match[1])
    short, step = re.sub(r"-\d+$", "", name), step_of(name)
    words = short.removeprefix(f"{step}-").replace("-", " ") if short.replace("-", "_") != step else ""
    return f"{words} {'.'.join(numbers)}".strip()


def _tree(details: list[Detail]) -> _Tree:
    tree = _Tree()
    children = {child.pod_name for one in details for child in one.child_tasks or [] if child.pod_name}
    if not children:
        return tree
    workflow = min(children).rpartition("-")[0]
    # Most names are of one node alone: once that is found, they are tried no more.
    left = Counter(one.display_name for one in details)
    names = sorted(left)
    bare = [name for name in names if not name.endswith(")") and name != workflow]
    repeated: dict[str, list[str]] = {}
    for name in names:
        if match := re.fullmatch(r"(.+)(\(\d+(?::[^()]*)?\))", name):
            repeated.setdefault(match[1], []).append(match[2])
    parents: dict[str, str] = {}
    todo = [(workflow, workflow, _hashed(workflow))]
    while todo:
        path, name, so_far = todo.pop()
        tree.names[path] = name
        further = [(suffix, name + suffix) for suffix in repeated.get(name, [])]
        further += [(f".{other}", other) for other in bare]
        for suffix, other in further:
            if not left[other]:
                continue
            hashed = _hashed(suffix, so_far)
            if (id_ := f"{workflow}-{hashed}") in children and id_ not in parents:
                parents[id_] = path
                tree.ids[path + suffix] = id_
                left[other] -= 1
                todo.append((path + suffix, other, hashed))
    for one in details:
        for child in one.child_tasks or []:
            parent = parents.get(child.pod_name or "", "")
            # Children of a node are also the nodes that wait for it.
            if tree.names.get(parent) == one.display_name:
                tree.entries[parent] = one
    alone = Counter(tree.names.values()), Counter(one.display_name for one in details)
    only = {name: path for path, name in tree.names.items() if all(one[name] == 1 for one in alone)}
    for one in details:
        if path := only.get(one.display_name):
            tree.entries.setdefault(path, one)
    return tree


def _hashed(text: str, so_far: int = 2166136261) -> int:
    """Return the 32-bit FNV-1a hash of a text that follows one with the hash `so_far`."""
    for byte in text.encode():
        so_far = (so_far ^ byte) * 16777619 & 0xFFFFFFFF
    return so_far


def moment(given: datetime | None) -> datetime | None:
    """Return a moment; one that is not there yet comes as the beginning of 1970."""
    return given if given and given.year > 1970 else None
