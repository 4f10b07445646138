"""Names of units: the service file, the modules and the program on the hosts read them alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.turnout.ops.plugins.module_utils import slot_files
from ansible_collections.turnout.ops.plugins.modules import units
from turnout.keys import Wrong
from turnout.service.values import process_name
from turnout_host import said, wanted

KINDS = ("api", "web", "worker", "scheduler", "timer")


@pytest.mark.parametrize(
    ("name", "good"),
    [("mails", True), ("m2", True), ("my-mails", True), ("apis", True), ("web2", True)]
    + [(word, False) for kind in KINDS for word in (kind, f"x-{kind}")]
    + [("api-x", False), ("a--b", False), ("Mails", False), ("a_b", False), ("-a", False)],
)
def test_a_process_is_named_alike_wherever_its_units_are_read(name: str, good: bool) -> None:
    unit = f"worker-{name}"
    for grammar in (slot_files.PROCESS, wanted.PROCESS, f"worker{units.NAME}"):
        assert (re.fullmatch(grammar, unit) is not None) is good, grammar
    try:
        process_name(name)
    except Wrong:
        assert not good
    else:
        assert good


def test_a_variable_of_any_case_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "etc/shop").mkdir(parents=True)
    (tmp_path / "etc/shop/blue.env").write_text('ConnectionStrings__Shop="Host=h;Password=hunter2"\n')
    hidden = said.secrets_of("shop", "blue", str(tmp_path))
    assert said.redact("no Host=h;Password=hunter2", hidden) == "no [ConnectionStrings__Shop]"
