"""Reproduction of the run in the report."""

from pathlib import PurePath

from kep.artifacts.report import Report
from kep.artifacts.verdict import Verdict
from kep.data.schema import ROLES
from kep.report.sections.words import View


def reproduce(report: Report, verdict: Verdict | None) -> View:
    """Return the content of the section."""
    folder = PurePath(report.run.folder if report.run else "RUN")
    versions = _versions(report)
    return {
        # An absolute path belongs to one machine; the name of the run's folder is enough to find it.
        "folder": "RUN" if folder.is_absolute() else str(folder),
        "run": folder.name if report.run else None,
        "seed": report.asked.seed,
        "seeds": [
            [result.candidate.id, ", ".join(str(training.seed) for training in result.seeds)]
            for result in report.best_epochs
        ],
        "member_seeds": {member.id: member.seed for member in report.members},
        "versions": [[package, ", ".join(found)] for package, found in sorted(versions.items())],
        "mixed": [package for package, found in versions.items() if len(found) > 1],
        "fingerprints": _fingerprints(report, verdict),
    }


def _versions(report: Report) -> dict[str, list[str]]:
    """Return the versions of each package that the steps ran with."""
    versions: dict[str, list[str]] = {}
    for step in report.steps:
        for package, version in step.versions.items():
            if version and version not in versions.setdefault(package, []):
                versions[package].append(version)
    return versions


def _fingerprints(report: Report, verdict: Verdict | None) -> list[list[str]]:
    manifest = report.manifest
    roles = [[f"{role} rows", manifest.roles[role].fingerprint] for role in ROLES if role in manifest.roles]
    found = [["records", manifest.fingerprint], *roles, ["search", report.study.identity]]
    if verdict:
        found.append(["ensemble", verdict.version])
    if report.run:
        run = {"source": report.run.source, "code": report.run.code, "revision": report.run.revision}
        found += [[name, value] for name, value in run.items() if value]
    return found
