"""The Dockerfile of an image that holds what the families of a run file need beside the published one."""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kep.core.errors import UserError
from kep.core.files import write_file
from kep.pipelines.images import check_pinned

_PIP = "pip --python /app/bin/python"
_TEXT = """\
# {file}: what its families need, in the published image. Written by `kep dockerfile`.
FROM {base}
USER 0
# What the image has stays as it is: a package that needs another version of it ends the build.
RUN {pip} list --format=freeze --exclude keras-ensemble-pipelines > /tmp/has.txt && \\
    {pip} install --no-cache-dir --constraint /tmp/has.txt {packages} && \\
    rm /tmp/has.txt
USER 10001:10001
"""


def write_dockerfile(file: Path, families: Iterable[Mapping[str, Any]] | str, base: str, target: Path) -> list[str]:
    """Write the Dockerfile of an image with the families' packages.

    Args:
        file: The run file.
        families: Its families, as `kep.models.registry.travelling` describes them.
        base: The published image, by its digest.
        target: The file to write.

    Returns:
        The packages.

    Raises:
        UserError: No family needs a package, or the image is not named by its digest.
    """
    check_pinned("--base", "it", base)
    own = [] if isinstance(families, str) else families
    packages = sorted({package for family in own for package in family.get("packages", [])})
    if not packages:
        raise UserError(f"{file}: no family in it has packages or requirements, so the published image will do")
    given = " ".join(map(shlex.quote, packages))
    text = _TEXT.format(file=file.name, base=base, pip=_PIP, packages=given)
    write_file(target, lambda path: path.write_text(text, encoding="utf-8"))
    return packages
