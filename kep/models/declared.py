"""Hyperparameters that a build declares beyond its values: KerasTuner's spaces grow as builds take other branches."""

from keras_tuner import HyperParameters
from keras_tuner.engine.hyperparameters import Boolean, Choice, Fixed, HyperParameter

from kep.artifacts.trials import Declared, Hyperparameters
from kep.core.errors import UserError


def beyond(family: str, built: HyperParameters, values: Hyperparameters) -> list[Declared]:
    """Return the active hyperparameters of a build that have no value in `values`; they took their defaults.

    Args:
        family: Name of the family, for messages.
        built: Hyperparameters after the build.
        values: Values that the build was given.

    Raises:
        UserError: A value is none that its hyperparameter can have, since one name is declared with two sets of values.
    """
    found = []
    for one, entry in zip(built.space, built.get_config()["space"], strict=True):
        if not built.is_active(one):
            continue
        if one.name not in values:
            found.append(Declared(**entry, value=built.values[one.name]))
        elif not _possible(one, values[one.name]):
            raise UserError(
                f'search.families: {family} declares "{one.name}" with two sets of values, and '
                f"{values[one.name]} is in one of them alone; give each its own name, or its own conditional_scope"
            )
    return found


def grown(space: HyperParameters, declared: list[Declared]) -> HyperParameters:
    """Return a space with what builds declared beyond it, in their order."""
    whole = space.copy()
    given = {"space": [one.model_dump(exclude={"value"}) for one in declared], "values": {}}
    whole.merge(HyperParameters.from_config(given), overwrite=False)
    return whole


def _possible(one: HyperParameter, value: bool | int | float | str) -> bool:
    if isinstance(one, Boolean):
        return isinstance(value, bool)
    if isinstance(one, Choice):
        return value in one.values
    return bool(value == one.value if isinstance(one, Fixed) else one.min_value <= value <= one.max_value)
