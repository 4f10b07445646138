"""Acceptance in the cage: the sample passes, a mutant is told with what repeats it, and nothing gets out."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from drill_bed import Bed, make_bed
from harness import EDGES, ROOT, Run, Turnout

LIMIT_S = 360.0  # the whole file

# Before the API starts it tries all ways out, and leaves its mark in what it takes for production.
ROGUE = """
import os, socket
import psycopg, redis
for where in (("203.0.113.7", 443), ("{edge}", 80), ("mail.example.org", 25)):
    try:
        socket.create_connection(where, 2).close()
    except OSError as error:
        print(where, error)
for path in ("/run/postgresql/.s.PGSQL.5432", "/run/redis/redis-server.sock"):
    try:
        socket.socket(socket.AF_UNIX).connect(path)
    except OSError as error:
        print(path, error)
with psycopg.connect(os.environ["DATABASE_URL"]) as session:
    session.execute("INSERT INTO tasks (user_id, title) VALUES (0, 'rogue')")
redis.Redis.from_url(os.environ["REDIS_URL"]).set("sample:rogue", 1)
"""


def publish(turnout: Turnout, version: str, change: Callable[[Path], None]) -> None:
    """Publish a release of the sample whose files were changed."""
    if version in turnout.published():
        return
    source, inputs = turnout.source_of(version)
    change(source)
    turnout.turnout(
        "release", "build", str(source), "--name", "sample", "--version", version,
        "--migrations", "migrations", *(word for key in inputs["environment"] for word in ("--env-key", key)),
        "--key", str(turnout.signing_key), "--out", str(turnout.work / "dist"),
    )  # fmt: skip
    manifest = turnout.work / "dist" / f"sample-{version}.release.yml"
    turnout.turnout("release", "publish", str(manifest), "--to", turnout.source, *turnout._s3_options())


def replaced(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(source: Path) -> None:
        text = (source / file).read_text()
        assert old in text, (file, old)
        (source / file).write_text(text.replace(old, new))

    return change


def entries(turnout: Turnout, name: str) -> list[dict[str, Any]]:
    return [one for one in turnout.edge(name)["ledger"] if one.get("kind") == "acceptance"]


def last(turnout: Turnout, run: Run) -> dict[str, Any]:
    """Return what the last acceptance entered, the same on every edge, with its evidence beside it."""
    found = [entries(turnout, name)[-1] for name in EDGES]
    assert {one["evidence_sha256"] for one in found} == {found[0]["evidence_sha256"]}
    evidence = turnout.folder(run) / "acceptance" / "acceptance.json"
    outcome = json.loads(evidence.read_text())["outcome"]
    assert outcome["release"]["sha256"] == found[0]["sha256"]
    return found[0]


@pytest.fixture(scope="module")
def bed(turnout: Turnout) -> Iterator[Bed]:
    """Return the lab with 1.0.0 in service and a fresh backup; the whole file is bounded in time."""
    turnout.ensure("1.0.0")
    made = make_bed(turnout)
    began = time.monotonic()
    yield made
    took_s = time.monotonic() - began
    print(f"acceptance in the cage: {took_s:.0f} s")
    assert took_s < LIMIT_S


def test_a_sound_release_passes_and_the_ledgers_say_so(bed: Bed) -> None:
    bed.turnout.publish("1.1.0")
    run = bed.turnout.playbook("acceptance", "-e", "release=1.1.0")
    print(f"a sound release: {run.seconds:.0f} s")
    assert run.rc == 0, run.tail
    entry = last(bed.turnout, run)
    assert (entry["verdict"], entry["release"], entry["causes"], entry["unknown"]) == ("pass", "1.1.0", [], [])
    assert entry["packs"] == ["contract", "compatible", "access"]
    assert entry["requests"] > 100
    assert entry["backup"]
    assert abs(entry["backup_s"] - entry["at_s"]) < 3600
    bed.nothing_left()


def test_a_renamed_field_is_told_with_its_operation_and_the_request_that_repeats_it(bed: Bed) -> None:
    publish(
        bed.turnout,
        "1.1.1",
        replaced("lib/sample/api.py", '"task_id AS id", "title"', '"task_id AS id", "title AS name"'),
    )
    run = bed.turnout.playbook("acceptance", "-e", "release=1.1.1")
    assert run.rc != 0, run.tail
    assert "error[acceptance]: 1.1.1 must not meet users" in run.out
    assert "GET /api/tasks/" in run.out
    assert "curl -sS" in run.out
    assert "Traceback" not in run.out
    entry = last(bed.turnout, run)
    assert entry["verdict"] == "fail"
    assert any("GET /api/tasks/" in cause and "title" in cause for cause in entry["causes"]), entry["causes"]
    bed.nothing_left()


def test_a_candidate_that_tries_every_way_out_is_counted_and_production_does_not_change(bed: Bed) -> None:
    turnout = bed.turnout
    rogue = ROGUE.format(edge=turnout.address("edge1"))
    publish(turnout, "1.1.2", replaced("bin/api", "\nfrom sample.programs", f"{rogue}\nfrom sample.programs"))
    rows = bed.sql("SELECT count(*), max(task_id) FROM tasks")
    run = turnout.playbook("acceptance", "-e", "release=1.1.2")
    entry = last(turnout, run)
    assert entry["blocked"] >= 5, (entry, run.tail)
    assert bed.sql("SELECT count(*) FROM tasks WHERE title = 'rogue'") == "0"
    assert bed.sql("SELECT count(*), max(task_id) FROM tasks") == rows
    assert turnout.redis("exists sample:rogue").strip() == "0"
    bed.nothing_left()


def test_a_release_without_packs_is_told_and_nothing_is_restored(bed: Bed) -> None:
    def without(source: Path) -> None:
        (source / "acceptance" / "acceptance.yml").unlink()
        (source / "acceptance").rmdir()

    publish(bed.turnout, "1.1.3", without)
    before = len(entries(bed.turnout, EDGES[0]))
    run = bed.turnout.playbook("acceptance", "-e", "release=1.1.3")
    assert run.rc == 0, run.tail
    assert "this release declares no packs" in run.out
    assert len(entries(bed.turnout, EDGES[0])) == before


def stamped(source: Path) -> None:
    """Give a release other bytes than any that was asked before: an outcome belongs to its artifact."""
    (source / "BUILT").write_text(str(time.time_ns()))


def asking_for_acceptance(turnout: Turnout) -> tuple[str, str]:
    """Return the options of a playbook in which the lab's checklist asks for an acceptance."""
    whole = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/checklist.yml").read_text())
    whole["checklist"]["acceptance"] = {"max_age_s": 3600}
    file = turnout.work / "checklist-acceptance.json"
    file.write_text(json.dumps(whole))
    return "-e", f"@{file}"


def test_a_deploy_that_asks_for_an_acceptance_is_no_go_before_it_and_go_after(bed: Bed) -> None:
    turnout = bed.turnout
    turnout.ensure("1.0.0")
    turnout.until_nothing_pages()
    publish(turnout, "1.1.4", stamped)
    asking = asking_for_acceptance(turnout)
    run = turnout.deploy("1.1.4", *asking)
    assert run.rc != 0, run.tail
    assert "no acceptance of the artifact" in run.out
    assert "turnout.ops.acceptance -e release=1.1.4" in run.out
    assert turnout.in_service() == "1.0.0"
    run = turnout.playbook("acceptance", "-e", "release=1.1.4")
    assert run.rc == 0, run.tail
    run = turnout.deploy("1.1.4", *asking)
    assert run.rc == 0, run.tail
    assert turnout.in_service() == "1.1.4"
    turnout.ensure("1.0.0")


def test_what_only_reads_is_asked_through_every_edge_before_the_first_user(bed: Bed) -> None:
    """A sound release goes on; one whose public answer lost its field goes back as by a failed smoke test."""
    turnout = bed.turnout
    turnout.ensure("1.0.0")
    turnout.until_nothing_pages()
    publish(turnout, "1.1.4", stamped)
    reading = turnout.with_service(acceptance={"reading": True})
    began = time.monotonic()
    run = turnout.deploy("1.1.4", *reading)
    print(f"a deploy that reads: {time.monotonic() - began:.0f} s")
    assert run.rc == 0, run.tail
    for name in EDGES:
        read = json.loads((turnout.folder(run) / "acceptance" / name / "outcome.json").read_text())
        assert (read["reading"], read["findings"]) == (True, [])
        assert read["requests"] > 5
        assert read["took_s"] < 30
    turnout.ensure("1.0.0")
    renamed = replaced("lib/sample/api.py", "json_build_object('static_data',", "json_build_object('data',")
    publish(turnout, "1.1.5", renamed)
    run = turnout.deploy("1.1.5", *reading)
    assert run.rc != 0, run.tail
    assert "error[acceptance-reading]" in run.out
    assert "GET /api/static_data/" in run.out
    assert turnout.in_service() == "1.0.0"
