"""The targets' file is read strictly: every fault with file, field and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from turnout.drill.objectives import load, parse
from turnout.errors import TurnoutError

ROOT = Path(__file__).parents[3]
GOOD = {"rpo_s": "300", "rto_s": "3600", "max_age_s": "172800", "detect_s": "120", "decide_s": "600"}


def content(**changes: str | None) -> str:
    values = {**GOOD, **changes}
    return "recovery:\n" + "".join(f"  {key}: {value}\n" for key, value in values.items() if value is not None)


def test_the_inventory_of_the_lab_has_targets() -> None:
    assert load(ROOT / "inventories" / "lab") == load(ROOT / "inventories" / "lab" / "hosts.yml")


def test_a_good_file_is_read() -> None:
    assert parse(content(), "recovery.yml").as_dict() == {key: float(value) for key, value in GOOD.items()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (content(rpo_s="0"), ["recovery.yml:2: recovery.rpo_s", "not above 0", "seconds above 0"]),
        (content(detect_s="0"), ["recovery.detect_s", "nobody notices or decides in no time"]),
        (content(decide_s="-5"), ["recovery.decide_s", "not above 0"]),
        (content(rto_s="700"), ["recovery.rto_s", "leave no time to restore", "720 s"]),
        (content(max_age_s=None), ["recovery: has no max_age_s", "add max_age_s"]),
        (content(rpo_s="5 minutes"), ["recovery.rpo_s", "'5 minutes' is not a number"]),
        (content(rpo_s=".inf"), ["recovery.rpo_s", "not a number"]),
        (content(rpo_s="true"), ["recovery.rpo_s", "not a number"]),
        (content(rpo_s='"{{ x }}"'), ["recovery.rpo_s", "not a number"]),
        (content(rpo_seconds="5"), ["recovery.rpo_seconds: is not a key", "rpo_s"]),
        (content() + "  rpo_s: 7\n", ["recovery.rpo_s: is given twice"]),
        (content() + "other: 1\n", ["other: is not a key"]),
        ("recovery: 5\n", ["recovery: '5' is not a mapping"]),
        ("recovery: [\n", ["not YAML", "recovery.yml:2"]),
        ("", ["holds 0 documents"]),
        (content() + "---\n" + content(), ["holds 2 documents"]),
    ],
)
def test_a_fault_names_file_field_and_remedy(text: str, words: list[str]) -> None:
    with pytest.raises(TurnoutError) as error:
        parse(text, "recovery.yml")
    for word in [*words, "recovery.yml", "to mend", "expected: recovery: {rpo_s"]:
        assert word in str(error.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(TurnoutError) as error:
        parse(content(rpo_s="0", detect_s="x", decide_s=None), "recovery.yml")
    assert "3 faults" in str(error.value)


def test_an_inventory_without_targets_is_told(tmp_path: Path) -> None:
    with pytest.raises(TurnoutError, match=r"recovery\.yml"):
        load(tmp_path)
