"""The report: one offline page that says what was asked, what was found, and which rows made every number.

Each section has a function in `kep.report.sections` that turns artifacts into what the template shows; the template
holds the words.
"""

from kep.artifacts.report import Report
from kep.artifacts.verdict import Verdict
from kep.report.page import render_page
from kep.report.search import search_view
from kep.report.sections.asked import asked
from kep.report.sections.best_epoch import best_epoch
from kep.report.sections.champion import champion
from kep.report.sections.data import data
from kep.report.sections.ensemble import ensemble
from kep.report.sections.exports import exports
from kep.report.sections.head import head
from kep.report.sections.ledger import ledger
from kep.report.sections.reproduce import reproduce
from kep.report.sections.steps import steps
from kep.report.sections.test import test
from kep.report.sections.warnings import warnings
from kep.report.sections.why import why


def render(report: Report, verdict: Verdict | None = None) -> str:
    """Return the page.

    Args:
        report: Content of the report.
        verdict: Decision of `promote`; without it the page says that nothing is decided yet.
    """
    label, told = report.manifest.label, report.evaluation.why
    found = {
        "ledger": ledger(report),
        "best_epoch": best_epoch(report),
        "steps": steps(report.steps),
        "reproduce": reproduce(report, verdict),
    }
    return render_page(
        "report.html.j2",
        name=report.asked.name,
        task=label.task,
        label=label.name,
        head=head(report, verdict),
        warnings=warnings(report, **found),
        asked=asked(report.asked),
        data=data(report.manifest),
        search=search_view(report.study, report.trials, told.hyperparameters if told else {}),
        ensemble=ensemble(report),
        test=test(report),
        why=why(report),
        champion=champion(report.evaluation.champion, verdict, report.asked.judged_by, label),
        exports=exports(report.exports, label),
        **found,
    )
