"""What turnout-edge says to a person at its command line, said to who runs a playbook: its commands, its variables."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from ansible_collections.turnout.ops.plugins.modules import edge as module

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = sorted((ROOT / "roles/edge/files/turnout_edge").glob("*.py"))
WORDS = {
    'start it; to move all the same: turnout-edge rollback --force --reason "..."':
    "start it; to move all the same: ansible-playbook turnout.ops.rollback -e 'break_glass=\"your reason\"'",
    "to go one release further back, to green (1.0.0): turnout-edge rollback --further":
    "to go one release further back, to green (1.0.0): ansible-playbook turnout.ops.rollback -e further=true",
    "put it back: turnout-edge rollback, then settle": "put it back: ansible-playbook turnout.ops.rollback",
    "turnout-edge rollback": "ansible-playbook turnout.ops.rollback",
    "look what happened: turnout-edge show --human": "look what happened: ansible-playbook turnout.ops.status",
    "turnout-edge apply (brings both back)": "on this edge: turnout-edge apply (brings both back)",
    "or: ansible-playbook turnout.ops.unlock (on this edge: turnout-edge lock break)":
    "or: ansible-playbook turnout.ops.unlock (on this edge: turnout-edge lock break)",
    "look at the service, or leave a host out: --allow-down NAME":
    "look at the service, or take a host that is gone for good out of the inventory",
    "turnout-edge lock take --run r1 --owner NAME --purpose TEXT":
    "look who took it: ansible-playbook turnout.ops.status; then the same again",
    "turnout-edge ready --color blue --run r on every edge, then confirm --run r on every edge":
    "look who moved it: ansible-playbook turnout.ops.status; then deploy again",
    "turnout-edge prepare --color C --release JSON":
    "look who moved it: ansible-playbook turnout.ops.status; then deploy again",
}  # fmt: skip


@pytest.mark.parametrize(("typed", "played"), WORDS.items())
def test_a_remedy_names_the_playbook_and_its_variable(typed: str, played: str) -> None:
    assert module.for_playbook(typed) == played
    error = {"code": "x", "observed": "it", "expected": "that", "remedy": typed}
    result = module.result_of(3, {"ok": False, "message": typed, "warnings": [typed], "error": error}, False)
    assert result["msg"] == f"observed: it; expected: that; to mend: {played}"
    assert (result["message"], result["warnings"], result["error"]["remedy"]) == (played, [played], played)


def told() -> set[str]:
    """Return every text of turnout-edge that names one of its own commands or options, with values as they may be."""
    found = set()
    for path in PROGRAM:
        tree = ast.parse(path.read_text())
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
                found.add(node.value)
    return {text for text in found if re.search(r"turnout-edge [a-z]+( --|$|[,;)( ])", text) and "\n" not in text}


def test_every_text_of_the_program_that_names_a_command_of_it_is_said_in_the_playbooks_words() -> None:
    texts = told()
    assert any("--further" in text for text in texts)
    for text in texts:
        played = module.for_playbook(text)
        for found in re.finditer(r"turnout-edge (rollback|show|lock take|prepare|ready|--force|--further)", played):
            raise AssertionError(f"{text!r} says {found[0]!r} to who runs a playbook")
        for flag in ('--force --reason "', "--further", "--allow-down"):
            assert flag not in played, text
