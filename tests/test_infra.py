"""infra/ is HCL whose names all exist, and grants the roles of docs/explanation/trust-and-security.md and no others."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import hcl2
import pytest

from tests.helpers.paths import ROOT
from tests.servers.terraform.provider import Provider

INFRA = ROOT / "infra"
MODULES = sorted(path.name for path in (INFRA / "modules").iterdir())


def bare(value: object) -> str:
    return str(value).strip('"')


def read(folder: Path) -> dict:
    """All blocks of a folder's files, as Terraform reads them: as one."""
    found: dict[str, list] = {}
    for path in sorted(folder.glob("*.tf")):
        with open(path, encoding="utf-8") as file:
            for kind, blocks in hcl2.load(file).items():
                found.setdefault(kind, []).extend(blocks)
    return found


def text_of(folder: Path) -> str:
    """The files of a folder without comments."""
    return re.sub(r"^ *#.*$", "", "\n".join(path.read_text() for path in sorted(folder.glob("*.tf"))), flags=re.M)


def named(blocks: dict, kind: str) -> dict[str, dict]:
    """Blocks with one label by their name."""
    return {bare(name): content for one in blocks.get(kind, []) for name, content in one.items()}


def made(blocks: dict, kind: str = "resource") -> dict[str, dict]:
    """Blocks with two labels by their address."""
    return {
        f"{bare(type_)}.{bare(name)}": content
        for one in blocks.get(kind, [])
        for type_, places in one.items()
        for name, content in places.items()
    }


@pytest.fixture(scope="module")
def main() -> dict:
    return read(INFRA)


def granted(main: dict) -> set[tuple[str, str]]:
    """Account and role of everything that is granted to an account of the pipeline's own, without a module."""
    found = set()
    (tables,) = (one for one in main["locals"] if "on_project" in one)
    for name in ("on_project", "on_bucket", "on_repository"):
        found |= {(f"kep-{bare(one['account'])}", bare(one["role"])) for one in tables[name].values()}
    for address, place in made(main).items():
        if address.startswith("google_service_account_iam_member."):
            account = re.search(r"google_service_account\.(\w+)\.member", place["member"])[1]
            found.add((f"kep-{account}", bare(place["role"])))
    return found


def documented() -> set[tuple[str, str]]:
    found, account = set(), ""
    for line in (ROOT / "docs" / "explanation" / "trust-and-security.md").read_text().splitlines():
        if match := re.match(r"\| (?:`(kep-\w+)`[^|]*)? ?\| `(roles/[\w.]+)` \|", line):
            account = match[1] or account
            found.add((account, match[2]))
    return found


def documented_of_modules() -> set[tuple[str, str]]:
    """Variable that switches a module, and role or permission that the module grants."""
    page = (ROOT / "docs" / "explanation" / "trust-and-security.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|", page, re.M)
    return {(variable, role) for variable, roles in rows for role in re.findall(r"`([\w./]+)`", roles)}


def switch(call: dict) -> str:
    """The variable that a module's count looks at."""
    (variable,) = set(re.findall(r"var\.(\w+)", str(call["count"])))
    return variable


def test_the_roles_are_those_of_the_page(main):
    assert granted(main) == documented()
    assert len(documented()) == 12


def test_the_roles_of_modules_are_those_of_the_page(main):
    found = set()
    for name, call in named(main, "module").items():
        text = text_of(INFRA / "modules" / name)
        permissions = re.findall(r'"(compute\.\w+\.\w+)"', text)
        found |= {(switch(call), role) for role in [*re.findall(r'"(roles/[\w.]+)"', text), *permissions]}
    assert found == documented_of_modules()
    assert found


def test_no_account_may_do_everything(main):
    text = text_of(INFRA) + "".join(text_of(INFRA / "modules" / name) for name in MODULES)
    assert not re.search(r"roles/(owner|editor|[\w.]+[aA]dmin)\b", text)
    assert {account for account, _ in granted(main)} == {"kep-build", "kep-check", "kep-submit", "kep-steps"}
    assert [role for account, role in granted(main) if account == "kep-check"] == ["roles/logging.logWriter"]


@pytest.mark.parametrize("folder", ["", *(f"modules/{name}" for name in MODULES)])
def test_every_variable_and_every_reference_exists(folder):
    blocks, text = read(INFRA / folder), text_of(INFRA / folder)
    assert set(re.findall(r"\bvar\.(\w+)", text)) == set(named(blocks, "variable"))
    there = {*made(blocks), *(f"data.{address}" for address in made(blocks, "data"))}
    there |= {f"provider.{bare(one['alias'])}" for one in named(blocks, "provider").values() if "alias" in one}
    assert set(re.findall(r"\b((?:data\.)?google_\w+\.\w+)", text)) <= there
    assert set(re.findall(r"\blocal\.(\w+)", text)) <= {name for one in blocks.get("locals", []) for name in one}
    assert set(re.findall(r"\bmodule\.(\w+)", text)) <= set(named(blocks, "module"))
    for one in [*named(blocks, "variable").values(), *named(blocks, "output").values()]:
        assert one["description"]


def test_modules_get_what_they_declare_and_give_what_is_asked(main):
    calls = named(main, "module")
    assert sorted(calls) == MODULES
    for name, call in calls.items():
        module = read(INFRA / "modules" / name)
        assert bare(call["source"]) == f"./modules/{name}"
        given = set(call) - {"source", "count", "providers", "depends_on"} - {key for key in call if key[:2] == "__"}
        assert given == set(named(module, "variable"))
        assert not any("default" in variable for variable in named(module, "variable").values())
        asked = set(re.findall(rf"\bmodule\.{name}(?:\[\*\])?\.(\w+)", text_of(INFRA)))
        assert asked == set(named(module, "output"))


def test_modules_are_off_until_their_variable_is_set(main):
    off = {'""': ' == "" ? 0 : 1', "false": " ? 1 : 0", "[]": " > 0 ? 1 : 0", "0": " > 0 ? 1 : 0"}
    variables = named(main, "variable")
    for call in named(main, "module").values():
        default = {"": '""', "False": "false"}.get(bare(variables[switch(call)]["default"]))
        default = default or bare(variables[switch(call)]["default"])
        asked = re.sub(r"^\$\{|\}$", "", str(call["count"]))
        variable = f"var.{switch(call)}"
        assert asked == (f"length({variable})" if default == "[]" else variable) + off[default]


def test_what_needs_an_api_waits_for_it(main):
    """By a dependency of its own, or by what it names."""
    addresses = {f"data.{name}": content for name, content in made(main, "data").items()} | made(main)
    addresses |= {f"module.{name}": content for name, content in named(main, "module").items()}
    (apis,) = (content for name, content in addresses.items() if name == "google_project_service.apis")
    tables = {name: str(content) for one in main["locals"] for name, content in one.items()}
    waiting = {"google_project_service.apis"}
    while True:
        more = set()
        for name, content in addresses.items():
            text = str(content)
            text += "".join(tables[local] for local in re.findall(r"\blocal\.(\w+)", text))
            if any(re.search(rf"(?<![\w.]){re.escape(one)}\b", text) for one in waiting):
                more.add(name)
        if more <= waiting:
            break
        waiting |= more
    assert set(addresses) - waiting == set()
    assert "cloudresourcemanager.googleapis.com" in str(apis)


def test_service_agents_are_made_before_they_are_named(main):
    for name, content in (made(main) | named(main, "module")).items():
        if "vertex_agents" in str(content):
            assert "google_project_service_identity.agents" in str(content["depends_on"]), name
    assert bare(made(main)["google_project_service_identity.agents"]["provider"]).strip("${}") == "google-beta"


def test_every_module_has_its_plan():
    text = (INFRA / "tests" / "modules.tftest.hcl").read_text()
    planned = set(re.findall(r"length\(module\.(\w+)\) == 1", text))
    assert planned == set(MODULES) == set(re.findall(r"length\(module\.(\w+)\) == 0", text))


@pytest.mark.skipif(shutil.which("terraform") is None, reason="needs Terraform")
def test_terraform_takes_it_and_plans_each_module(tmp_path):
    """With a provider that knows Google's schemas alone, every resource of it mocked."""
    folder = tmp_path / "infra"
    shutil.copytree(INFRA, folder, ignore=shutil.ignore_patterns(".terraform*"))

    def terraform(*arguments: str) -> str:
        command = ["terraform", *arguments, "-no-color"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with Provider() as provider:
        environment = os.environ | provider.environment
        assert "Warning" not in terraform("init", "-backend=false", "-input=false")
        assert "The configuration is valid." in terraform("validate")
        plans = len(re.findall(r"^run ", (INFRA / "tests" / "modules.tftest.hcl").read_text(), re.M))
        assert f"Success! {plans} passed, 0 failed." in terraform("test")
        terraform("fmt", "-check", "-recursive")


def test_the_triggers_give_every_substitution_that_the_builds_need(main):
    triggers = {name: one for name, one in made(main).items() if name.startswith("google_cloudbuild_trigger.")}
    assert len(triggers) == 2
    for trigger in triggers.values():
        build = (ROOT / bare(trigger["filename"])).read_text()
        wanted = set(re.findall(r"^#   (_\w+) ", build, re.MULTILINE))
        defaults = set(re.findall(r"^  (_\w+):", build, re.MULTILINE))
        given = trigger["substitutions"]
        (given,) = [given] if isinstance(given, dict) else given
        assert wanted - defaults <= {bare(name) for name in given} <= wanted
