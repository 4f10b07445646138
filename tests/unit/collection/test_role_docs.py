"""What `ansible-doc -t role` shows of every entry point: a line that names it, and a sentence that says more."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SPECS = sorted(ROOT.glob("roles/*/meta/argument_specs.yml"))


def test_the_roles_are_found() -> None:
    assert len(SPECS) > 20


@pytest.mark.parametrize("spec", SPECS, ids=lambda path: path.parent.parent.name)
def test_every_entry_point_and_option_is_described(spec: Path) -> None:
    for name, entry in yaml.safe_load(spec.read_text())["argument_specs"].items():
        assert entry.get("short_description"), name
        assert entry.get("description"), name
        assert entry["description"] != entry["short_description"], name
        for option, words in (entry.get("options") or {}).items():
            assert words.get("description"), f"{name}: {option}"
        for text in (entry["description"], *(words["description"] for words in (entry.get("options") or {}).values())):
            assert all(isinstance(line, str) for line in ([text] if isinstance(text, str) else text)), (name, text)
