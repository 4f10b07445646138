"""The pack `abuse` against a real server: what is sound refuses, each mutant is caught and repeated."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from desk import ABUSE, PAYMENT, Desk, declaration
from desk_bed import ask, laid, repeated
from turnout.acceptance.hooks import Hooks
from turnout.acceptance.outcome import Outcome
from turnout.faults import FaultsError


def asked(desk: Desk, folder: Path, *parts: str, logs: bool = True, **changed: Any) -> Outcome:
    chosen = {name: ABUSE[name] for name in ("honest", "canaries", *(parts or ABUSE)) if name in ABUSE}
    desk.log.write_text("begun\n")
    declared = declaration("abuse", abuse={**chosen, **changed}, idempotent=[PAYMENT])
    return ask(desk, folder, declared, Hooks(logs=(desk.log,) if logs else ()))


@dataclass(frozen=True)
class Mutant:
    name: str
    part: str
    operation: str
    field: str
    what: str
    shows: str
    """What stands in what the request gets when it is repeated."""


MUTANTS = [
    Mutant("bodies without limit", "bodies", "POST /orders", "body", "a body of 1000000 bytes: answered 200", "200"),
    Mutant("chunked bodies without limit", "bodies", "POST /orders", "chunked body", ".* answered 200", "200"),
    Mutant("headers without limit", "headers", "GET /health", "headers", "500 headers: answered 200", "200"),
    Mutant("slow requests stay", "slow", "POST /orders", "slow body", ".* neither an answer nor an end", ""),
    Mutant("slow requests stay", "slow", "POST /orders", "slow head", ".* neither an answer nor an end", ""),
    Mutant("one at a time", "slow", "GET /orders", "during slow requests", ".* declared: 1 s", "200"),
    Mutant("broken JSON is taken", "malformed", "POST /login", "JSON cut off", ".* answered 401", "401"),
    Mutant("broken JSON crashes", "malformed", "POST /login", "JSON empty", ".* answered 500", "500"),
    Mutant("deep JSON crashes", "malformed", "POST /login", "JSON nested without end", ".* answered 500", "500"),
    Mutant(
        "error shows a password", "malformed", "POST /login", "canary password", "the answer 400 shows", "password-of"
    ),
    Mutant("password in a log", "malformed", "POST /login", "log of canary password", "desk.log shows", ""),
    Mutant("passwords without limit", "tries", "POST /login", "repeated", "30 of 30 were not refused by 429", "401"),
    Mutant("resets without limit", "tries", "POST /reset", "repeated", "30 of 30 were not refused by 429", "200"),
    Mutant("signature not needed", "tries", "payment: POST /webhooks/payment", "signature", "no signature", "200"),
    Mutant("body is not signed", "tries", "payment: POST /webhooks/payment", "signature", "the signature of", "200"),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: f"{one.name}, {one.field}")
def test_a_mutant_is_caught_and_its_request_repeats_it(
    desk: Desk, tmp_path: Path, mutant: Mutant, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.mutants = frozenset({mutant.name})
    changed: dict[str, Any] = {}
    if mutant.name == "headers without limit":
        monkeypatch.setattr(http.client, "_MAXHEADERS", 1000)
    if mutant.name == "slow requests stay":
        changed["slow"] = [{**ABUSE["slow"][0], "seconds": 1}]
    if mutant.name == "one at a time":
        changed["honest"] = {**ABUSE["honest"], "within_seconds": 1}
    outcome = asked(desk, tmp_path, mutant.part, **changed)
    assert outcome.verdict == "fail"
    found = [one for one in outcome.findings if (one.operation, one.field) == (mutant.operation, mutant.field)]
    assert any(re.match(mutant.what, one.what) for one in found), outcome.findings
    assert "password-of" not in str(outcome.as_dict())
    if mutant.shows:
        one = next(one for one in found if re.match(mutant.what, one.what))
        assert re.search(mutant.shows, repeated(one, outcome)), one.curl


def test_the_sound_application_passes_each_time(desk: Desk, tmp_path: Path) -> None:
    for _ in range(3):
        outcome = asked(desk, tmp_path)
        assert (outcome.verdict, outcome.findings, outcome.unknown) == ("pass", (), ())


def test_what_was_not_looked_at_is_not_known(desk: Desk, tmp_path: Path) -> None:
    outcome = asked(desk, tmp_path, "headers", logs=False, honest=None)
    assert (outcome.verdict, outcome.findings) == ("not known", ())
    assert ["abuse.honest" in outcome.unknown[0].why, "--log FILE" in outcome.unknown[1].why] == [True, True]


def test_a_log_that_proves_nothing_is_not_known(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "quiet.log").write_text("before\n")
    given = Hooks(
        logs=(tmp_path / "quiet.log", tmp_path / "gone.log"), log_commands=("false", "true", "/no/such", "echo x")
    )
    outcome = ask(desk, tmp_path, declaration("abuse", abuse={"canaries": ABUSE["canaries"]}), given)
    assert {one.why for one in outcome.unknown[1:]} == {
        "quiet.log: nothing was written to it in the run",
        "gone.log: it cannot be read (No such file or directory)",
        "log command 1: it ended with 1",
        "log command 2: it printed nothing",
        "log command 3: it cannot be run (FileNotFoundError)",
    }


@pytest.mark.parametrize(
    ("changed", "field", "remedy"),
    [
        ({"tries": [{"request": "POST /a", "times": 5, "most": 5}]}, "tries[0].most", "write times: 12"),
        ({"bodies": [{"request": "POST /a", "refused": [99]}]}, "bodies[0].refused[0]", "409"),
        ({"canaries": {"key": "${passwort}"}}, "canaries.key", "write ${password}"),
        ({"honest": {"request": "POST /a"}}, "honest.request", "write request: GET "),
        ({"slows": []}, "slows", "rename it to `slow`"),
    ],
)
def test_what_is_wrong_is_told_with_field_and_remedy(
    tmp_path: Path, changed: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(FaultsError) as caught:
        laid(tmp_path, declaration("abuse", abuse=changed))
    told = {fault.path: fault.remedy for fault in caught.value.faults}
    assert remedy in told[f"acceptance.abuse.{field}"], told
