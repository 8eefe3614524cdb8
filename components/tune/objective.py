"""What a search may optimise."""

from components.shared.errors import UserError
from components.shared.metrics import METRICS
from components.shared.settings import Objective


def check_objective(objective: Objective, task: str) -> None:
    """Refuses an objective that the task does not have, or one to be optimised the wrong way round.

    Raises:
        UserError: With the objectives that the task has.
    """
    known = {"loss": "min"} | {name: metric.direction for name, metric in METRICS.items() if task in metric.tasks}
    if objective.name not in known:
        raise UserError(
            f'search.objective.name: "{objective.name}" is not a metric of a {task} label; '
            f"choose from {', '.join(known)}"
        )
    if known[objective.name] != objective.direction:
        raise UserError(
            f"search.objective.direction: {objective.name} is to be {known[objective.name]}imised, "
            f"not {objective.direction}imised"
        )
