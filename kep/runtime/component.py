"""The one way a component is declared: a thin body that imports this package from the image it runs in."""

from collections.abc import Callable
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from kep.runtime.command import EXECUTOR, FIRST_PROCESS, START

IMAGE = "keras-ensemble-pipelines/cpu"
"""The image of every step. Locally the steps run in this environment, and the name is not looked at."""


def step(body: Callable[..., Any]) -> BaseComponent:
    """Decorates a component's function, whose Python takes the place of the shell that starts it.

    kfp's own command leaves the shell in front of Python. As the first process of a container that ignores SIGTERM and
    passes it to nobody. A step that is cancelled, or loses its machine, would never write its checkpoint. The first
    process is kep/runtime/task.py instead, which starts kfp's executor.
    """
    component = dsl.component(body, base_image=IMAGE, install_kfp_package=False)
    container = component.component_spec.implementation.container
    container.command = [
        word.replace(START.removeprefix("exec env "), START).replace(EXECUTOR, f"{FIRST_PROCESS} {EXECUTOR}")
        for word in container.command
    ]
    return component
