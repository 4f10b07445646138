"""Configuration is released as code is: a variable that changes alone, and one that is bad, under load on the lab."""

from __future__ import annotations

import json
from typing import Any

import yaml
from conftest import SHORT_ANSWERS
from harness import APPS, EDGES, SERVICE_FILE, Turnout, refused

RATE = 40.0


def serves(turnout: Turnout) -> dict[str, Any]:
    """Return the record of what is in service, after seeing that every edge has the same."""
    edges = [turnout.edge(name) for name in EDGES]
    # Each edge has its own moment at which it was told of it.
    records = [{**edge["releases"][edge["stable"]], "declared_at": None} for edge in edges]
    assert all(record == records[0] for record in records), records
    return dict(records[0])


def laid(turnout: Turnout) -> dict[str, str]:
    """Return the checksum of all that holds a configuration on the hosts."""
    return {host: turnout.ssh(host, "sha256sum /etc/sample/*.env /etc/sample/*.json") for host in APPS}


def variable(turnout: Turnout, host: str, name: str) -> str:
    """Return a variable of the API's process that serves."""
    color = turnout.edge(EDGES[0])["stable"]
    pid = turnout.ssh(host, f"systemctl show -P MainPID sample-api@{color}").strip()
    return turnout.ssh(host, f"tr '\\0' '\\n' < /proc/{pid}/environ | sed -n 's/^{name}=//p'").strip()


def test_a_changed_variable_is_released_and_rolled_back_with_its_artifact(turnout: Turnout) -> None:
    turnout.ensure("1.0.0")
    run = turnout.deploy("1.0.0")  # with the configuration of the lab's own file
    assert run.rc == 0, run.tail
    old = serves(turnout)
    changed = turnout.with_service(environment={"DAILY_DIGEST_HOUR": "4"}, api={"drain_s": 31})
    with turnout.load(rate=RATE, mix=SHORT_ANSWERS) as load:
        run = turnout.deploy("1.0.0", *changed)
        assert run.rc == 0, run.tail
        new = serves(turnout)
        assert (new["sha256"], new["release"]) == (old["sha256"], "1.0.0")
        assert new["configuration"] != old["configuration"]
        assert f"1.0.0 with configuration {new['configuration']} goes to" in run.out
        assert f"in service: 1.0.0 with configuration {old['configuration']}" in run.out
        assert "the configuration in service differs in: api.drain_s, environment.DAILY_DIGEST_HOUR" in run.out
        assert [variable(turnout, host, "DAILY_DIGEST_HOUR") for host in APPS] == ["4"] * len(APPS)
        entry = next(one for one in reversed(turnout.edge(EDGES[0])["ledger"]) if one["kind"] == "release")
        assert (entry["configuration"], entry["replaced_configuration"], entry["differs"]) == (
            new["configuration"], old["configuration"], ["api.drain_s", "environment.DAILY_DIGEST_HOUR"],
        )  # fmt: skip
        again = turnout.deploy("1.0.0", *changed)
        assert again.rc == 0, again.tail
        assert f"1.0.0 with configuration {new['configuration']} is in service already" in again.out
        status = turnout.playbook("status", "-e", "format=json").out
        assert f'"configuration": "{new["configuration"]}"' in status
        back = turnout.rollback()
        assert back.rc == 0, back.tail
    assert load.report["failed"] == 0, load.report["failures"]
    assert serves(turnout)["configuration"] == old["configuration"]
    assert [variable(turnout, host, "DAILY_DIGEST_HOUR") for host in APPS] == ["3"] * len(APPS)


def test_a_bad_variable_is_taken_back_by_itself_and_quarantined_with_its_artifact_alone(turnout: Turnout) -> None:
    """A database that refuses to write answers health checks and lists; only users who write meet it."""
    turnout.ensure("1.0.0")
    run = turnout.deploy("1.0.0")
    assert run.rc == 0, run.tail
    old, before = serves(turnout), laid(turnout)
    address = yaml.safe_load(SERVICE_FILE.read_text())["service"]["environment"]["DATABASE_URL"]
    bad: tuple[str, ...] = turnout.with_service(
        environment={"DATABASE_URL": f"{address}&options=-c%20default_transaction_read_only%3Don"}
    )
    # The checklist would find it. A team that makes this check no more still has guard and judge.
    refused(turnout.deploy("1.0.0", *bad), "it takes no writes", "service.environment.DATABASE_URL")
    assert (serves(turnout), laid(turnout)) == (old, before)
    unasked = turnout.work / "no-postgres-check.yml"
    checklist = yaml.safe_load(SERVICE_FILE.with_name("checklist.yml").read_text())["checklist"]
    unasked.write_text(yaml.safe_dump({"checklist": {**checklist, "skip": ["postgres"]}}))
    bad = (*bad, "-e", f"@{unasked}")
    turnout.until_scraped()
    with turnout.load(rate=RATE, mix=SHORT_ANSWERS):
        run = turnout.judged("1.0.0", (), *bad)
    refused(run, "went back in", "again=")
    assert "the configuration in service differs in: environment.DATABASE_URL" in run.out
    assert "read_only" not in run.out
    assert serves(turnout) == old
    assert laid(turnout) == before
    held = turnout.edge(EDGES[0])["quarantine"]
    (entry,) = (one for key, one in held.items() if key.startswith(f"{old['sha256']} "))
    assert (entry["release"], entry["configuration"] != old["configuration"]) == ("1.0.0", True)
    # A cell of a table, on several lines.
    refused(
        turnout.deploy("1.0.0", *bad), "1.0.0 with configuration", entry["configuration"], "rolled back by", "again="
    )
    assert "in service already" in turnout.deploy("1.0.0").out
    run = turnout.deploy("1.0.0", *turnout.with_service(environment={"DAILY_DIGEST_HOUR": "5"}))
    assert run.rc == 0, run.tail
    assert turnout.rollback().rc == 0
    for name in EDGES:
        assert "read_only" not in json.dumps(turnout.edge(name))
    assert serves(turnout) == old
