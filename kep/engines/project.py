"""A repository for a team's own project: run files, a family, its images and its build."""

import shutil
from pathlib import Path

import jinja2

from kep.config.run_file import validate
from kep.core.errors import UserError
from kep.core.files import new_folder
from kep.core.versions import version
from kep.pipelines.images import locked

TEMPLATES = Path(__file__).with_name("templates") / "project"
"""Files of a project: a name that ends in .j2 is filled in, dot- at its beginning stands for a dot."""
SHORT = "sample"
"""Name of the run file of the short form."""
_PUBLISHED = Path("containers/base.lock.yaml")


def make_project(folder: Path, images: Path | None = None) -> list[Path]:
    """Write the files of a new project, all of them or none.

    Args:
        folder: Folder to make; its name is that of the project and of its run file.
        images: Lock of the published images that the project's are built on; None where they are not published yet.

    Returns:
        The files, relative to `folder`, sorted.

    Raises:
        UserError: The folder's name can't be a run file's, something is in the folder, or the lock can't be used.
    """
    target = folder.resolve()
    name = target.name
    _check_name(name)
    # Another folder takes the place of an empty one, so that it can't be the one that a shell is in.
    if target == Path.cwd() or target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise UserError(f"{folder} exists already; give the name of a new folder")
    if images is not None:
        locked(images)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    values = {"name": name, "version": version("keras-ensemble-pipelines")}
    with new_folder(target) as made:
        for template in environment.list_templates():
            file = made / _named(Path(template), name)
            file.parent.mkdir(parents=True, exist_ok=True)
            if template.endswith(".j2"):
                file.write_text(environment.get_template(template).render(values), encoding="utf-8")
            else:
                shutil.copyfile(TEMPLATES / template, file)
        if images is not None:
            shutil.copyfile(images, made / _PUBLISHED)
    return sorted(path.relative_to(target) for path in target.rglob("*") if path.is_file())


def _check_name(name: str) -> None:
    try:
        validate({"name": name, "data": {"source": "sklearn:iris"}})
    except UserError as error:
        raise UserError(f"NAME: {str(error).removeprefix('name: ')}") from None
    if name == SHORT:
        raise UserError(f'NAME: "{name}" is the run file of the short form; choose another name')


def _named(template: Path, name: str) -> Path:
    """Return the path in the project of the file that a template makes."""
    file = template.name.removesuffix(".j2")
    if file.startswith("dot-"):
        file = f".{file.removeprefix('dot-')}"
    return template.with_name(f"{name}.yaml" if file == "name.yaml" else file)
