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
from kep.report.sections.hints import hints
from kep.report.sections.ledger import ledger
from kep.report.sections.reproduce import reproduce
from kep.report.sections.steps import steps
from kep.report.sections.test import test
from kep.report.sections.words import loss_name


def render(report: Report, verdict: Verdict | None = None) -> str:
    """Return the page.

    Args:
        report: Content of the report.
        verdict: Decision of `promote`; without it the page says that nothing is decided yet.
    """
    label = report.manifest.label
    return render_page(
        "report.html.j2",
        name=report.asked.name,
        task=label.task,
        label=label.name,
        loss=loss_name(label),
        head=head(report, verdict),
        hints=hints(report.manifest),
        asked=asked(report.asked),
        data=data(report.manifest),
        search=search_view(report.study, report.trials),
        best_epoch=best_epoch(report),
        ensemble=ensemble(report),
        test=test(report),
        champion=champion(report.evaluation.champion, verdict),
        exports=exports(report.exports, label),
        ledger=ledger(report),
        steps=steps(report.steps),
        reproduce=reproduce(report, verdict),
    )
