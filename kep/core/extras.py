"""Packages that only some uses need, by the extra of this package that installs them."""

from importlib.util import find_spec

from kep.core.errors import UserError


def need(module: str, extra: str, what: str) -> None:
    """Refuse what needs a module that is not installed; it is not imported.

    Args:
        module: Top-level name of the module.
        extra: Extra of this package that installs it.
        what: What needs it, for people.

    Raises:
        UserError: It is not installed.
    """
    if find_spec(module) is None:
        raise UserError(
            f'{what} needs the package {module}, which is not here: pip install "keras-ensemble-pipelines[{extra}]"'
        )


def need_tensorflow(what: str = "this command") -> None:
    """Refuse what needs TensorFlow where it is not installed.

    Raises:
        UserError: It is not installed.
    """
    need("tensorflow", "cpu", what)
