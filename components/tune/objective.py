"""The objective of a search."""

from kep.config.search import Objective, SearchTask
from kep.core.errors import UserError, nearest
from kep.stats.metrics import directions


def load(config: str, task: str) -> SearchTask:
    """The search's settings from their JSON, the objective with its direction; raises as `resolve`."""
    settings = SearchTask.model_validate_json(config)
    return settings.model_copy(update={"objective": resolve(settings.objective, task)})


def resolve(objective: Objective, task: str) -> Objective:
    """The objective with its direction, which may be left out for a metric that the product measures.

    Raises:
        UserError: The direction is missing for a metric of the model, or is the wrong one for a known metric.
    """
    known = directions(task)
    direction = known.get(objective.name, objective.direction)
    if direction is None:
        raise UserError(
            f'search.objective.name: "{objective.name}" is not one of {", ".join(known)}'
            f"{nearest(objective.name, known)}; for a metric that your model reports, give its direction too: "
            f"{{name: {objective.name}, direction: max}}"
        )
    if objective.direction not in (None, direction):
        raise UserError(
            f"search.objective.direction: {objective.name} is to be {direction}imised, not {objective.direction}imised"
        )
    return objective.model_copy(update={"direction": direction})


def check_reported(objective: Objective, task: str, family: str, reported: dict[str, float]) -> None:
    """Refuses an objective that neither the product measures nor the model reports.

    Args:
        objective: Objective of the search.
        task: binary, multiclass or regression.
        family: Whose model it is.
        reported: Values of the metrics that the model was compiled with, after one batch.

    Raises:
        UserError: With the metrics that there are.
    """
    known = directions(task)
    if objective.name in known or objective.name in reported:
        return
    choices = [*known, *(name for name in reported if name not in known)]
    raise UserError(
        f'search.objective.name: {family} does not report "{objective.name}"{nearest(objective.name, choices)}; choose '
        f"from {', '.join(choices)}"
    )
