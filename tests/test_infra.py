"""infra/ is HCL, and grants the roles of docs/security.md and no others."""

import re

import hcl2
import pytest

from tests.helpers.paths import ROOT

INFRA = ROOT / "infra"


@pytest.fixture(scope="module")
def main() -> dict:
    with open(INFRA / "main.tf", encoding="utf-8") as file:
        return hcl2.load(file)


def bare(value: str) -> str:
    return str(value).strip('"')


def granted(main: dict) -> set[tuple[str, str]]:
    """Account and role of everything that is granted to an account of the pipeline's own."""
    found = set()
    (tables,) = main["locals"]
    for name in ("on_project", "on_bucket", "on_repository"):
        found |= {(f"kep-{bare(one['account'])}", bare(one["role"])) for one in tables[name].values()}
    for resource in main["resource"]:
        for kind, named in resource.items():
            for place in named.values():
                if bare(kind) == "google_service_account_iam_member":
                    account = re.search(r"google_service_account\.(\w+)\.member", place["member"])[1]
                    found.add((f"kep-{account}", bare(place["role"])))
    return found


def documented() -> set[tuple[str, str]]:
    found, account = set(), ""
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        if match := re.match(r"\| (?:`(kep-\w+)`[^|]*)? ?\| `(roles/[\w.]+)` \|", line):
            account = match[1] or account
            found.add((account, match[2]))
    return found


def test_the_roles_are_those_of_the_page(main):
    assert granted(main) == documented()
    assert len(documented()) == 12


def test_no_account_may_do_everything(main):
    text = (INFRA / "main.tf").read_text()
    assert not re.search(r"roles/(owner|editor|\w+\.admin)\b", text)
    assert {account for account, _ in granted(main)} == {"kep-build", "kep-check", "kep-submit", "kep-steps"}
    assert [role for account, role in granted(main) if account == "kep-check"] == ["roles/logging.logWriter"]


def test_every_variable_and_every_reference_exists(main):
    text = (INFRA / "main.tf").read_text() + (INFRA / "outputs.tf").read_text()
    with open(INFRA / "variables.tf", encoding="utf-8") as file:
        declared = {bare(name) for one in hcl2.load(file)["variable"] for name in one}
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared
    made = {f"{bare(kind)}.{bare(name)}" for one in main["resource"] for kind, named in one.items() for name in named}
    assert set(re.findall(r"\b(google_\w+\.\w+)", text)) - made == {"google_project.this"}


def test_the_triggers_give_every_substitution_that_the_builds_need(main):
    for resource in main["resource"]:
        for kind, named in resource.items():
            if bare(kind) != "google_cloudbuild_trigger":
                continue
            for trigger in named.values():
                build = (ROOT / bare(trigger["filename"])).read_text()
                wanted = set(re.findall(r"^#   (_\w+) ", build, re.MULTILINE))
                defaults = set(re.findall(r"^  (_\w+):", build, re.MULTILINE))
                (given,) = (
                    [trigger["substitutions"]]
                    if isinstance(trigger["substitutions"], dict)
                    else trigger["substitutions"]
                )
                assert wanted - defaults <= {bare(name) for name in given} <= wanted
