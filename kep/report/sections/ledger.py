"""The ledger in the report: who read which role."""

from kep.artifacts.evaluation import LedgerTotal
from kep.artifacts.report import Report
from kep.report.sections.words import View, plural


def ledger(report: Report) -> View:
    """Return who read which role, and whether test was opened once, by evaluate.

    An export reads it afterwards, and nothing follows from what it sees.
    """
    lines = list(report.evaluation.ledger)
    known = {line.step for line in lines}
    # promote reads after evaluate has written its ledger.
    for step in report.steps:
        if step.step not in known:
            lines += [LedgerTotal(**dict(line), times=1) for line in step.ledger]
    exported = [LedgerTotal(**dict(line), times=1) for export in report.exports for line in export.read]
    opened = [line for line in lines if line.role == "test"]
    shards = {role: info.fingerprint for role, info in report.manifest.roles.items()}
    rows = [
        {
            "step": line.step,
            "role": line.role,
            "colour": f"--{line.plain_role}",
            "rows": line.rows,
            "times": line.times,
            "fingerprint": line.fingerprint[:12],
            "same": line.fingerprint == shards.get(line.plain_role),
        }
        for line in [*lines, *exported]
    ]
    return {
        "rows": rows,
        "once": [(line.step, line.times) for line in opened] == [("evaluate", 1)],
        "readers": [f"{line.step} ({plural(line.times, 'time', 'times')})" for line in opened],
        "exported": bool(exported),
        "openings": report.evaluation.openings,
        "before": round(report.evaluation.opened_before * report.evaluation.rows),
        "foreign": [row for row in rows if not row["same"]],
    }
