"""The pack `idempotent` against a real server and a worker of its own process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from desk import MAIL, MOVED, PAYMENT, SIGNED, Desk, Worker, declaration
from desk_bed import ask, laid, postgres, repeated
from turnout.acceptance.hooks import Hooks
from turnout.acceptance.outcome import Outcome
from turnout.acceptance.run import Asked, run
from turnout.errors import TurnoutError
from turnout.faults import FaultsError


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as address:
        yield address


@dataclass(frozen=True)
class Mutant:
    name: str
    delivery: str
    field: str
    what: str


BY_NAME = {"payment": PAYMENT, "parcel": MOVED, "mail": MAIL}


def asked(desk: Desk, folder: Path, kill: str, *names: str, **changed: Any) -> Outcome:
    deliveries = [{**BY_NAME[name], **changed} for name in names]
    return ask(desk, folder, declaration("idempotent", idempotent=deliveries), Hooks(kill=kill))


@pytest.mark.parametrize(
    "mutant",
    [
        Mutant("webhook counts twice", "payment", "twice", "counted 2 in place of 1"),
        Mutant("webhook counts twice at once", "payment", "ten at once", r"counted \d+ in place of 1"),
        Mutant("webhook counts double", "payment", "once", "counted 2 in place of 1"),
        Mutant("second webhook crashes", "payment", "twice", "answered 500"),
        Mutant("older webhook wins", "parcel", "out of order", r"GET /orders/\$\{order_id\} reads another value"),
        Mutant("job enqueued twice", "mail", "twice", "counted 2 in place of 1"),
        Mutant("job not safe under kill", "mail", "killed", "counted 2 in place of 1"),
        Mutant("job lost under kill", "mail", "killed", "counted 0 in place of 1"),
    ],
    ids=lambda one: one.name,
)
def test_a_mutant_is_caught_and_its_requests_repeat_it(
    desk: Desk, worker: Worker, tmp_path: Path, mutant: Mutant
) -> None:
    delivery, field, what = mutant.delivery, mutant.field, mutant.what
    desk.mutants = frozenset({mutant.name})
    worker.start(mutant.name)
    changed: dict[str, Any] = {"within_seconds": 8} if "lost" in mutant.name else {}
    if "not safe" in mutant.name:  # the worker that is started anew does the job once more
        changed = {"watch_seconds": 2.5}
    outcome = asked(desk, tmp_path, worker.kill, delivery, **changed)
    assert outcome.verdict == "fail"
    found = next(one for one in outcome.findings if one.field.startswith(field))
    assert (found.pack, found.operation.partition(":")[0]) == ("idempotent", delivery)
    assert re.match(what, found.what), found
    assert "whsec" not in found.curl
    said = repeated(found, outcome)
    assert found.curl.count("curl ") >= 2
    if field != "killed" and "500" not in what and delivery != "parcel":
        assert len(re.findall(r'"\w{12}"', said.splitlines()[-1])) > 1, said
    if "500" in what:
        assert "HTTP/1.1 500" in said
    if delivery == "parcel":
        assert '"place": "depot"' in said


def test_the_sound_application_passes_each_time(desk: Desk, worker: Worker, tmp_path: Path) -> None:
    worker.start()
    for _ in range(3):
        outcome = asked(desk, tmp_path, worker.kill, "payment", "parcel", "mail")
        assert (outcome.verdict, outcome.findings, outcome.unknown) == ("pass", (), ())


def test_without_a_command_that_kills_the_worker_it_is_not_known(desk: Desk, worker: Worker, tmp_path: Path) -> None:
    worker.start()
    outcome = asked(desk, tmp_path, "", "mail")
    assert (outcome.verdict, outcome.findings) == ("not known", ())
    assert "--kill COMMAND" in outcome.unknown[0].why


def test_a_kill_that_fails_proves_nothing(desk: Desk, worker: Worker, tmp_path: Path) -> None:
    worker.start()
    outcome = asked(desk, tmp_path, "false", "mail")
    assert (outcome.verdict, outcome.findings) == ("not known", ())
    assert {one.why for one in outcome.unknown} == {
        f"killed {when}: the command of --kill: it ended with 1" for when in ("while asked", "0 s after")
    }


def test_a_delivery_without_effect_or_refused_proves_nothing(desk: Desk, tmp_path: Path) -> None:
    desk.mutants = frozenset({"webhook without effect"})
    outcome = asked(desk, tmp_path, "true", "payment", within_seconds=0.2)
    assert outcome.verdict == "not known"
    assert "had no effect within 0.2 s" in outcome.unknown[0].why
    desk.mutants = frozenset()
    outcome = asked(
        desk, tmp_path, "true", "payment", send=[{"request": "POST /webhooks/payment", "json": ["${unique}"]}]
    )
    assert "refused (answered 401)" in outcome.unknown[0].why


def test_a_count_that_cannot_be_read_is_not_known(desk: Desk, tmp_path: Path) -> None:
    for count, why in (
        ({"request": "GET /nowhere"}, "GET /nowhere: answered 404"),
        ({"request": "GET /health", "at": "/count"}, "no JSON with /count in it"),
        ({"request": "GET /health", "at": "/status"}, "no whole number and no list"),
        ({"sql": "SELECT 1 WHERE ${unique} = 'x'"}, "--database-from VARIABLE"),
    ):
        outcome = asked(desk, tmp_path, "true", "payment", count=count)
        assert outcome.verdict == "not known"
        assert why in outcome.unknown[0].why


def test_an_effect_is_counted_in_the_database(desk: Desk, tmp_path: Path, database: str) -> None:
    def counted(sql: str) -> Outcome:
        declared = declaration("idempotent", idempotent=[{**PAYMENT, "count": {"sql": sql}}])
        return ask(desk, tmp_path, declared, Hooks(kill="true", database=database))

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE payments (event text)")
        desk.database = connection
        try:
            good = counted("SELECT count(*) FROM payments WHERE event = ${unique} AND event NOT LIKE 'zz%'")
            assert (good.verdict, good.unknown) == ("pass", ())
            double = counted("SELECT 2 * count(*) FROM payments WHERE event = ${unique}")
            assert [(one.field, one.what) for one in double.findings] == [("once", "counted 2 in place of 1")]
        finally:
            desk.database = None
    assert "syntax error" in counted("DROP TABLE ${unique}").unknown[0].why
    assert "read-only transaction" in counted("CREATE TABLE a (b int)").unknown[0].why


def test_a_database_that_cannot_be_reached_is_told_without_its_address(desk: Desk, tmp_path: Path) -> None:
    for address in ("postgresql://u:very-secret@127.0.0.1:1/x", "very-secret"):
        with pytest.raises(TurnoutError) as caught:
            ask(desk, tmp_path, declaration("idempotent", idempotent=[PAYMENT]), Hooks(database=address))
        assert caught.value.code == "acceptance-database"
        assert "very-secret" not in str(caught.value)


def test_a_candidate_elsewhere_is_not_written_to_without_a_word_about_its_cage(tmp_path: Path) -> None:
    questions = laid(tmp_path, declaration("idempotent", idempotent=[PAYMENT]))
    with pytest.raises(TurnoutError) as caught:
        run(questions, Asked(url="https://shop.example.com"))
    assert caught.value.code == "acceptance-cage"
    assert "--cage" in caught.value.remedy
    with pytest.raises(TurnoutError) as caught:
        run(questions, Asked(url="http://127.0.0.1:1", reading=True, only=("idempotent",)))
    assert caught.value.code == "acceptance-reading"


@pytest.mark.parametrize(
    ("changed", "field", "remedy"),
    [
        ({"send": []}, "send", "add a request"),
        ({"send": [{"request": "POST /a"}]}, "send", 'json: {id: "${unique}"}'),
        ({"send": [{"request": "POST /a/${unique}/${ordr_id}"}]}, "send[0].request", "write ${order_id}"),
        ({"count": {}}, "count", "write request: GET /..., or sql"),
        ({"count": {"request": "GET /a", "sql": "SELECT 1"}}, "count", "write request: GET /..., or sql"),
        ({"count": {"sql": "SELECT 1 WHERE 'x' = '${unique}'"}}, "count.sql", "remove the quotes"),
        ({"count": {"request": "GET /a", "at": "count"}}, "count.at", "write at: /count"),
        ({"count": {"request": "GET /${nobody}"}}, "count.request", "capture nobody"),
        ({"leaves": {"request": "POST /a"}}, "leaves.request", "write request: GET "),
        ({"effect": 0}, "effect", "write effect: 1"),
        ({"effects": 2}, "effects", "rename it to `effect`"),
        ({"send": [{**PAYMENT["send"][0], "signed": {**SIGNED, "of": "${time}"}}]}, "send[0].signed.of", "${body}"),
        ({"send": [{**PAYMENT["send"][0], "signed": {**SIGNED, "algorithm": "md5"}}]}, "send[0].signed.algorithm", ""),
    ],
)
def test_what_is_wrong_is_told_with_field_and_remedy(
    tmp_path: Path, changed: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(FaultsError) as caught:
        laid(tmp_path, declaration("idempotent", idempotent=[{**PAYMENT, **changed}]))
    told = {fault.path: fault.remedy for fault in caught.value.faults}
    assert remedy in told[f"acceptance.idempotent[0].{field}"], told
    assert "whsec" not in str(caught.value)


def test_a_pack_without_what_it_asks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FaultsError) as caught:
        laid(tmp_path, declaration("idempotent"))
    assert [fault.path for fault in caught.value.faults] == ["acceptance.idempotent"]
