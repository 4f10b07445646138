"""What the collection holds: every plugin can be found by its full name, is documented, and takes what it says."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PLUGINS = ROOT / "plugins"
BIN = Path(sys.executable).parent
RUNTIME = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())


def files(kind: str) -> list[str]:
    found = sorted(path.stem for path in (PLUGINS / kind).glob("*.py"))
    assert found
    return found


def filters() -> list[str]:
    return sorted(
        name
        for file in files("filter")
        for name in importlib.import_module(f"ansible_collections.turnout.ops.plugins.filter.{file}")
        .FilterModule()
        .filters()
    )


NAMES = {"module": files("modules"), "filter": filters(), "callback": files("callback")}


def ansible_doc(*words: str) -> Any:
    done = subprocess.run(
        [BIN / "ansible-doc", "--json", *words], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def documented() -> dict[str, dict[str, Any]]:
    """Return what ansible-doc shows, by kind and short name."""
    shown = {}
    for kind, names in NAMES.items():
        found = ansible_doc("--type", kind, *(f"turnout.ops.{name}" for name in names))
        shown[kind] = {name.removeprefix("turnout.ops."): value for name, value in found.items()}
    return shown


@pytest.mark.parametrize("kind", NAMES)
def test_ansible_doc_lists_every_plugin(kind: str) -> None:
    listed = ansible_doc("--type", kind, "--list", "turnout.ops")
    assert sorted(name.removeprefix("turnout.ops.") for name in listed) == NAMES[kind]


@pytest.mark.parametrize("kind", NAMES)
def test_every_plugin_and_each_of_its_options_is_described(documented: dict[str, Any], kind: str) -> None:
    assert sorted(documented[kind]) == NAMES[kind]
    for name, shown in documented[kind].items():
        doc = shown.get("doc")
        assert doc, f"{kind} {name}: {shown}"
        assert doc["short_description"].strip(), name
        assert doc["description"], name
        # A comma in a text without quotes makes a key of what follows it.
        for part in (doc.get("options") or {}, doc.get("attributes") or {}, shown["return"] or {}):
            for key, told in part.items():
                assert told.get("description"), f"{kind} {name}: {key}"
                assert None not in (told[word] for word in told if word != "default"), f"{kind} {name}: {key}: {told}"
        if kind != "callback":
            assert shown["examples"], f"{kind} {name}"
            assert f"turnout.ops.{name}" in shown["examples"], f"{kind} {name}"


def taken(action: str) -> dict[str, dict[str, Any]]:
    """Return the options that an action takes, with what it says of each where it says something."""
    plugin = importlib.import_module(f"ansible_collections.turnout.ops.plugins.action.{action}").ActionModule
    return dict(getattr(plugin, "spec", None) or {name: {} for name in plugin._VALID_ARGS})


@pytest.mark.parametrize("action", files("action"))
def test_every_action_is_documented_with_exactly_the_options_that_it_takes(
    documented: dict[str, Any], action: str
) -> None:
    options = documented["module"][action]["doc"]["options"]
    spec = taken(action)
    assert sorted(options) == sorted(spec)
    for name, rules in spec.items():
        if not rules:
            continue
        shown = options[name]
        assert shown["type"] == rules.get("type", "str"), name
        assert bool(shown.get("required")) == rules.get("required", False), name
        assert shown.get("default") == rules.get("default"), name
        assert shown.get("choices") == rules.get("choices"), name


def test_a_group_of_actions_holds_what_takes_the_options_of_a_run(documented: dict[str, Any]) -> None:
    groups = RUNTIME["action_groups"]

    def members(group: str) -> set[str]:
        found = set()
        for member in groups[group]:
            if isinstance(member, str):
                found.add(member)
            else:
                for other in member["metadata"]["extend_group"]:
                    found |= members(other.removeprefix("turnout.ops."))
        return found

    options = {name: set(shown["doc"].get("options", {})) for name, shown in documented["module"].items()}
    assert members("run") == {name for name, takes in options.items() if "run" in takes}
    assert members("acting") == {name for name, takes in options.items() if {"run", "actor"} <= takes}
    of_hosts = {name for name, takes in options.items() if {"service", "run", "fence"} <= takes}
    assert members("fenced") == of_hosts


def sources() -> list[Path]:
    found = [
        path
        for folder in ("playbooks", "roles", "plugins", "molecule", "inventories", "scripts/turnout", "docs", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".yml", ".j2", ".py", ".md") and path.is_file()
    ]
    assert len(found) > 400
    return [*found, ROOT / "ansible.cfg", ROOT / "README.md"]


def test_every_full_name_that_is_written_anywhere_is_there() -> None:
    known = {
        *(name for names in NAMES.values() for name in names),
        *files("doc_fragments"),
        *(path.name for path in (ROOT / "roles").iterdir()),
        *(path.stem for path in (ROOT / "playbooks").glob("*.yml")),
        *RUNTIME["action_groups"],
        "plugins",  # of a Python import
    }
    unknown = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources()
        for name in re.findall(r"\bturnout\.ops\.([a-z_]+)", path.read_text(encoding="utf-8"))
        if name not in known
    }
    assert unknown == set()


def test_nothing_of_the_collection_is_called_by_a_short_name() -> None:
    """Short names are found by search paths, of which there are none."""
    words = "|".join(sorted({*NAMES["module"], *files("action")}))
    old = re.compile(rf"^\s*(?:- )?(?:turnout_)?(?:{words}):\s*(?:&\w+)?$")
    role = re.compile(r"(?:import|include)_role:\n\s+name: (?!turnout\.ops\.)\S+")
    for path in [
        *ROOT.glob("playbooks/**/*.yml"),
        *ROOT.glob("roles/*/tasks/*.yml"),
        *ROOT.glob("roles/*/handlers/*.yml"),
    ]:
        text = path.read_text()
        assert not role.search(text), path
        for task in _tasks(yaml.safe_load(text)):
            assert not [key for key in task if old.match(f"{key}:")], f"{path}: {task.get('name')}"


def _tasks(value: Any) -> list[dict[str, Any]]:
    """Return every task of a file: of plays, of blocks, of lists of tasks."""
    found = []
    for one in value or []:
        if not isinstance(one, dict):
            continue
        parts = [
            one[key]
            for key in ("pre_tasks", "tasks", "post_tasks", "handlers", "block", "rescue", "always")
            if key in one
        ]
        found += [task for part in parts for task in _tasks(part)] if parts else [one]
    return found
