"""Every shape that kfp.local runs wrongly is refused; the training pipeline holds none."""

from typing import NamedTuple

import pytest
import yaml
from kfp import compiler, dsl

from kep.pipelines.lint import lint
from kep.runtime.component import step as component


@component
def numbers() -> list[int]:
    return [1, 2]


@component
def named() -> NamedTuple("Out", [("items", list[int]), ("flag", bool)]):
    return [1], True


@component
def number() -> int:
    return 7


@component
def add(a: int, b: int) -> int:
    return a + b


@component
def make(a: int, model: dsl.Output[dsl.Model]):
    model.metadata["a"] = a


@dsl.pipeline
def loop_over_named_output():
    with dsl.ParallelFor(named().outputs["items"]) as item:
        add(a=item, b=1)


@dsl.pipeline
def body_reads_another_task():
    seven = number()
    with dsl.ParallelFor(numbers().output) as item:
        add(a=item, b=seven.output)


@dsl.pipeline
def inner_loop_reads_outer_item():
    with dsl.ParallelFor([1, 2]) as outer, dsl.ParallelFor([3, 4]) as inner:
        add(a=outer, b=inner)


@dsl.pipeline
def condition_on_named_output():
    with dsl.If(named().outputs["flag"] == True):  # noqa: E712
        number()


@dsl.pipeline
def condition_on_loop_item():
    with dsl.ParallelFor([1, 2]) as item, dsl.If(item == 1):
        number()


@dsl.pipeline
def one_of_artifacts() -> dsl.Model:
    with dsl.If(number().output == 7):
        a = make(a=1)
    with dsl.Else():
        b = make(a=2)
    return dsl.OneOf(a.outputs["model"], b.outputs["model"])


@dsl.pipeline
def optional_without_default(x: int = None):  # noqa: RUF013 (kfp understands no union)
    add(a=1, b=2)


@dsl.pipeline
def installs_packages():
    dsl.component(number.python_func, base_image="python:3.11", packages_to_install=["six"])()


@dsl.pipeline
def plain_component():
    dsl.component(number.python_func, base_image="python:3.11", install_kfp_package=False)()


@dsl.container_component
def shell():
    return dsl.ContainerSpec(image="python:3.11", command=["true"])


@dsl.pipeline
def container_component():
    shell()


@dsl.pipeline
def resource_in_loop(cpu: str = "1"):
    with dsl.ParallelFor([1, 2]) as item:
        add(a=item, b=1).set_cpu_limit(cpu)


@dsl.pipeline
def sound(n: int = 2):
    with dsl.ParallelFor(numbers().output) as item:
        add(a=item, b=n)
    with dsl.If(number().output == 7):
        number()


def compiled(pipeline, tmp_path) -> dict:
    compiler.Compiler().compile(pipeline, str(tmp_path / "p.yaml"))
    return next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        (loop_over_named_output, "named output"),
        (body_reads_another_task, "body reads"),
        (inner_loop_reads_outer_item, "outer loop's item"),
        (condition_on_named_output, "condition on the named output"),
        (condition_on_loop_item, "condition on the loop item"),
        (one_of_artifacts, "one of several artifacts"),
        (optional_without_default, "optional without a default"),
        (installs_packages, "installs packages"),
        (plain_component, "keeps SIGTERM from Python"),
        (container_component, "container component"),
        (resource_in_loop, "does not declare"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_planted_shape_is_refused(pipeline, words, tmp_path):
    problems = lint(compiled(pipeline, tmp_path))
    assert any(words in problem for problem in problems), problems


@pytest.mark.filterwarnings("ignore")
def test_a_sound_pipeline_passes(tmp_path):
    assert lint(compiled(sound, tmp_path)) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda s: s["components"].pop("comp-add"), "is not defined"),
        (lambda s: s["deploymentSpec"]["executors"].pop("exec-add"), "executor exec-add"),
        (lambda s: s["root"]["dag"]["tasks"].pop("numbers"), "not defined"),
        (lambda s: s.update(rooot={}), "no pipeline specification"),
    ],
)
def test_broken_references_are_refused(break_it, words, tmp_path):
    spec = compiled(sound, tmp_path)
    break_it(spec)
    assert any(words in problem for problem in lint(spec)), lint(spec)
