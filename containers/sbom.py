"""Writes what an image holds of Python packages as CycloneDX: python containers/sbom.py NAME… writes build/sbom/.

The packages come from the image's locked requirements; Debian's packages of the base image are not among them.
"""

import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
IN_IMAGE = {"sys_platform": "linux", "python_version": "3.11", "python_full_version": "3.11.0"}
"""The lock is for several platforms; these are the images'."""


def packages(requirements: str) -> list[str]:
    """The requirements, with their hashes, that a file holds for the images' platform."""
    lines = requirements.replace("\\\n", " ").splitlines()
    wanted = []
    for line in lines:
        requirement = Requirement(line.partition(" --hash")[0])
        if requirement.marker is None or requirement.marker.evaluate(IN_IMAGE):
            hashes = line.partition(" --hash")[1:]
            wanted.append(f"{requirement.name}{requirement.specifier}{''.join(hashes)}")
    return wanted


def write(name: str, folder: Path) -> Path:
    """Writes the bill of materials of one image; equal requirements give equal bytes."""
    text = "\n".join(packages((ROOT / "containers" / name / "requirements.txt").read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.cdx.json"
    program = [Path(sys.executable).with_name("cyclonedx-py"), "requirements", "-", "--output-reproducible", "-o", path]
    subprocess.run(program, input=text, text=True, check=True)
    return path


if __name__ == "__main__":
    for image in sys.argv[1:]:
        print(write(image, ROOT / "build" / "sbom"))
