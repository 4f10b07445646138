"""Secrets and personal data in logs: found in real files and journals, told by name and place, never shown."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.turnout.ops.plugins.module_utils import log_scan
from hypothesis import given
from hypothesis import strategies as st
from turnout import log_findings
from turnout.faults import FaultsError
from turnout.service import load
from turnout.service.logs import BUILT_IN

ROOT = Path(__file__).parents[3]
SALT = "00" * 32
SERVICE: dict[str, Any] = {
    "name": "shop",
    "releases": {"source": "/srv/releases", "allowed_signers": "signers"},
    "api": {"command": "bin/api", "ports": {"blue": 8001, "green": 8002}},
    "workers": {"jobs": {"command": "bin/worker"}},
    "environment": {
        "DATABASE_URL": "postgresql://app:s3cret-word@10.0.0.31/shop", "LOG_LEVEL": "verbose",
        "API_KEY": "k-77 and more", "SMTP_LOGIN": "postbox-login", "PUSH_TOKEN": "tok=en/with+signs",
    },
}  # fmt: skip
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLW9m"


def question(secrets: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    hidden = [
        {"name": name, "words": [log_scan.digest(word, SALT) for word in log_scan.words(value)]}
        for name, value in (secrets or {}).items()
    ]
    given: dict[str, Any] = {
        "salt": SALT, "secrets": hidden, "patterns": {}, "ignore": [], "files": [], "units": [], "hours": 24,
        "limit_s": 30, "most_bytes": 10_000_000,
    }  # fmt: skip
    return {**given, **more}


def names(line: str, **more: Any) -> set[str]:
    found: set[str] = log_scan.Scanner(question(**more)).names(line)
    return found


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("user anna@example.org signed in", {"email"}),
        ("Started shop-api@blue.service - shop's API.", set()),
        ("shop-timer-nightly@blue.timer, then anna@blue.services.example", {"email"}),
        ("GET /x?mail=anna%40example.org", set()),
        ("charged 4111 1111 1111 1111 today", {"card"}),
        ("charged 4111-1111-1111-1112", set()),
        ("order 4111111111111111112345 of 1796012095945", set()),
        ("paid by DE89 3704 0044 0532 0130 00.", {"iban"}),
        ("paid by DE89370400440532013001", set()),
        (f"token {JWT}", {"jwt"}),
        ("Authorization: Bearer abcdefgh1234", {"authorization"}),
        ('"authorization": "Basic ***"', set()),
        ("password=hunter22 ok", {"named-secret"}),
        ('{"api_key": "abcdef12"}', {"named-secret"}),
        ("password=[FILTERED] password=****** secret: <hidden> password: null,", set()),
        ("connect redis://:hunter2@10.0.0.1:6379/0", {"url-password"}),
        ("connect redis://:***@10.0.0.1:6379/0 postgresql://app@db/x", set()),
        ("-----BEGIN EC PRIVATE KEY-----", {"private-key"}),
        ("key AKIAIOSFODNN7EXAMPLE", {"aws-key"}),
        ('192.0.2.1:51234 [30/Nov] public shop-blue/app1 0/0/0/9/9 201 200 ---- "POST /orders/17 HTTP/1.1"', set()),
        ("job 6f9619ff-8b86-4d01-b42d-00c04fc964ff done in 0.123 s", set()),
    ],
)
def test_what_must_not_be_in_a_log_is_known_and_what_may_be_is_passed_over(line: str, found: set[str]) -> None:
    assert names(line) == found


def test_every_pattern_that_a_service_file_may_name_is_looked_for() -> None:
    assert tuple(sorted(log_scan.BUILT_IN)) == BUILT_IN


def test_own_patterns_count_and_ignored_ones_do_not() -> None:
    assert names("M-12345678 anna@example.org", patterns={"member": "M-[0-9]{8}"}, ignore=["email"]) == {"member"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("login with s3cret-word failed", {"secret A"}),
        ("dsn=postgresql://app:s3cret-word@10.0.0.31/shop", {"secret A", "url-password"}),
        ("GET /?t=tok%3Den%2Fwith%2Bsigns HTTP/1.1", {"secret B"}),
        ('{"t": "tok=en/with+signs"}', {"secret B"}),
        ("tok en", set()),
        ("tok=en/with+sign", set()),
        ("login with s3cret-words failed", set()),
    ],
)
def test_a_secret_of_the_service_is_found_in_any_spelling_by_its_digest(line: str, found: set[str]) -> None:
    secrets = {"secret A": "s3cret-word", "secret B": "tok=en/with+signs"}
    assert "s3cret-word" not in json.dumps(question(secrets))
    assert names(line, secrets=secrets) == found


def test_secrets_are_those_that_their_names_say_passwords_in_addresses_and_declared_ones(tmp_path: Path) -> None:
    declared = {"secrets": ["SMTP_LOGIN"], "canaries": {"form": "canary-4711"}}
    found = dict(log_findings.secrets(load({**SERVICE, "logs": declared}, base_dir=tmp_path)))
    assert found == {
        "secret DATABASE_URL": "postgresql://app:s3cret-word@10.0.0.31/shop",
        "secret DATABASE_URL's password": "s3cret-word", "secret API_KEY": "k-77 and more",
        "secret SMTP_LOGIN": "postbox-login", "secret PUSH_TOKEN": "tok=en/with+signs", "canary form": "canary-4711",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("logs", "told"),
    [
        ({"files": ["log/app.log"]}, "an absolute path"),
        ({"files": ["/var/lib/../shadow"]}, "an absolute path"),
        ({"patterns": {"x": "("}}, "cannot be read"),
        ({"patterns": {"x": "(?=a)b"}}, "cannot be read"),
        ({"patterns": {"x": "a*"}}, "fits an empty line"),
        ({"ignore": ["emial"]}, "one of: authorization"),
        ({"canaries": {"form": "abc"}}, "by chance"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(logs: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(FaultsError) as error:
        load({**SERVICE, "logs": logs}, base_dir=tmp_path)
    (fault,) = error.value.faults
    assert told in f"{fault.observed} {fault.expected}"


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs",)), min_size=8), st.text())
def test_no_line_stops_a_scan_and_nothing_of_it_is_in_the_report(value: str, around: str) -> None:
    report = log_scan.Report(log_scan.Scanner(question({"secret A": value})), limit_s=30, most_bytes=1_000_000)
    report.see("unit", f"{around} password=hunter22-{'q' * 9} {value}", 1.0, "1.0")
    told = json.dumps(list(report.found.values()))
    assert "hunter22" not in told
    assert "named-secret" in told


def test_files_are_read_with_their_rotated_ones_and_links_and_pipes_are_not(tmp_path: Path) -> None:
    now = time.time()
    log, outside = tmp_path / "app.log", tmp_path / "other"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now - 60))
    log.write_text(f"fine\n{stamp} password=hunter22\n2001-01-01 00:00:00Z password=hunter22\npassword=hunter22\n")
    with gzip.open(tmp_path / "app.log.1.gz", "wt") as rotated:
        rotated.write("anna@example.org\n")
    outside.write_text("anna@example.org\n")
    (tmp_path / "app.log.link").symlink_to(outside)
    os.mkfifo(tmp_path / "app.log.pipe")
    old = tmp_path / "app.log.9"
    old.write_text("anna@example.org\n")
    os.utime(old, (now - 900_000, now - 900_000))
    told = log_scan.scan(question(files=[f"{tmp_path}/app.log*", f"{tmp_path}/none*.log"]))
    assert [(one["source"], one["pattern"], one["count"], one["places"]) for one in told["found"]] == [
        (str(log), "named-secret", 2, ["line 2", "line 4"]),
        (f"{log}.1.gz", "email", 1, ["line 1"]),
    ]
    assert told["found"][0]["first"] == pytest.approx(now - 60, abs=2)
    assert (told["absent"], told["cut"]) == ([f"{tmp_path}/none*.log"], [])
    assert "hunter22" not in json.dumps(told)
    assert "anna" not in json.dumps(told)


def test_the_newest_lines_are_looked_at_where_there_is_no_room_for_all(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("anna@example.org\n" + "x" * 99 + "\n" * 2000 + "password=hunter22\n")
    told = log_scan.scan(question(files=[str(log)], most_bytes=1000))
    assert [one["pattern"] for one in told["found"]] == ["named-secret"]
    assert told["cut"] == [f"the beginning of {log}"]
    assert log_scan.scan(question(files=[str(log)], limit_s=0))["cut"] == [str(log)]


def entries(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]], code: int = 0, says: str = ""
) -> Path:
    """Let a program stand where journalctl is, which says what journald would; return the file of its words."""
    (folder / "entries").write_text("".join(json.dumps(line) + "\n" for line in lines))
    program = folder / "journalctl"
    words = folder / "words"
    program.write_text(f'#!/bin/sh\necho "$@" >>{words}\ncat {folder}/entries\necho "{says}" >&2\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return words


def entry(text: Any, at: float = 10.5, unit: str = "shop-api@blue.service") -> dict[str, Any]:
    return {"__REALTIME_TIMESTAMP": str(int(at * 1e6)), "_SYSTEMD_UNIT": unit, "MESSAGE": text}


def test_a_journal_is_read_newest_first_and_each_finding_has_its_unit_and_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [entry("password=hunter22", 12.25), entry(list(b"\xff anna@example.org"), 11.0), entry("password=hunter22"),
             entry(None), entry(["a", "password=hunter22"], 9.0, "haproxy.service")]  # fmt: skip
    words = entries(tmp_path, monkeypatch, lines)
    told = log_scan.scan(question(units=["shop-*.service", "haproxy.service"]))
    assert [(one["source"], one["pattern"], one["count"], one["first"], one["last"]) for one in told["found"]] == [
        ("haproxy.service", "named-secret", 1, 9.0, 9.0),
        ("shop-api@blue.service", "email", 1, 11.0, 11.0),
        ("shop-api@blue.service", "named-secret", 2, 10.5, 12.25),
    ]
    assert told["found"][2]["places"] == ["12.250000", "10.500000"]
    assert told["lines"] == 5
    about = [{**entry("anna@example.org", 9.0, "init.scope"), "UNIT": "shop-api@blue.service"}]
    entries(tmp_path, monkeypatch, about)
    (one,) = log_scan.scan(question(units=["x"]))["found"]
    assert one["source"] == "shop-api@blue.service", "what systemd says of a unit is told as that unit's"
    entries(tmp_path, monkeypatch, lines)
    assert "--reverse" in words.read_text()
    assert "--unit=shop-*.service" in words.read_text()
    cut = log_scan.scan(question(units=["x"], most_bytes=5))
    assert (cut["lines"], cut["cut"]) == (1, ["journal before 12"])


def test_a_real_journal_is_read_by_its_own_program(tmp_path: Path) -> None:
    """Written by systemd-journal-remote 252 of four entries, of which three are of the service."""
    (tmp_path / "shop.journal").write_bytes(gzip.decompress((Path(__file__).parent / "shop.journal.gz").read_bytes()))
    hours = time.time() / 3600 - 1_796_000_000 / 3600
    asked = question(units=["shop-*.service"], hours=hours, journal=[f"--file={tmp_path}/shop.journal"])
    told = log_scan.scan(asked)
    (one,) = told["found"]
    assert (one["source"], one["pattern"], one["count"]) == ("shop-api@blue.service", "named-secret", 3)
    assert one["places"] == ["1796094253.000003", "1796094253.000002", "1796094253.000001"]
    assert (told["lines"], told["cut"]) == (3, [])
    assert log_scan.scan({**asked, "units": ["other.service"]})["found"][0]["pattern"] == "email"
    assert log_scan.scan({**asked, "units": ["none-*.service"]})["lines"] == 0


def test_a_journal_that_cannot_be_read_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries(tmp_path, monkeypatch, [], 1, "Failed to open files: Permission denied")
    with pytest.raises(ValueError, match="Permission denied"):
        log_scan.scan(question(units=["x"]))
    entries(tmp_path, monkeypatch, [], 1, "Failed to add filter for units: No data available")
    assert log_scan.scan(question(units=["x"]))["found"] == []


def test_an_expression_that_comes_to_no_end_is_stopped(tmp_path: Path) -> None:
    """By the module's alarm, which Python sees within an expression."""

    def stop(_number: int, _frame: object) -> None:
        raise TimeoutError

    (tmp_path / "app.log").write_text("a" * 60 + "b\n")
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(TimeoutError):
            log_scan.scan(question(files=[str(tmp_path / "app.log")], patterns={"endless": "(a+)+$"}))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_person_sees_what_was_found_where_and_who_is_silent() -> None:
    one = {"source": "shop-api@blue.service", "pattern": "email", "count": 3, "first": 10.5, "last": 12.0,
           "places": ["12.000000"]}  # fmt: skip
    told = {"found": [one], "lines": 7, "bytes": 100, "cut": ["journal before 9"], "absent": ["/var/lib/shop/*.log"]}
    seen = log_findings.collect(
        {"app1": told, "app2": {"msg": "error[log-scan]: no\nway"}, "edge1": {"unreachable": True}}
    )
    shown = log_findings.render(seen, 24)
    for words in (
        "7 lines of the last 24 h, 0.0 MB: 1 finding", "1970-01-01 00:00:10", "NOT looked at: app1: journal before 9",
        "journalctl -u shop-api@blue.service --since=@12 --until=@13", "no file on app1: /var/lib/shop/*.log",
        "NOT looked at: app2: error[log-scan]: no way", "NOT looked at: edge1: no answer",
    ):  # fmt: skip
        assert words in shown
    error = log_findings.failure(seen)
    assert error is not None
    assert (error.code, "1 finding in logs: email" in error.observed) == ("logs-found", True)
    silent = log_findings.failure(log_findings.collect({"app1": {**told, "found": []}}))
    assert silent is not None
    assert silent.code == "logs-not-seen"
    assert log_findings.failure(log_findings.collect({"app1": {**told, "found": [], "cut": []}})) is None


def test_the_command_finds_what_the_service_wrote_and_shows_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("GET /?t=tok%3Den%2Fwith%2Bsigns\nfor canary-4711\nM-12345678\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/journalctl").write_text(f"#!/bin/sh\necho '{json.dumps(entry('anna@example.org'))}'\n")
    (tmp_path / "bin/journalctl").chmod(0o755)
    logs = {"files": [f"{tmp_path}/*.log"], "patterns": {"member": "M-[0-9]{8}"}, "canaries": {"form": "canary-4711"}}
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False}
    hosts = {"all": {"vars": {"service": {**SERVICE, "logs": logs}}, "children": {"worker": {"hosts": {"here": here}}}}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    words = [Path(sys.executable).parent / "turnout", "logs", "scan", "-i", tmp_path / "hosts.yml"]
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "PATH": path}
    )
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    for name in ("secret PUSH_TOKEN", "canary form", "member", "email", "shop-api@blue.service", "line 3"):
        assert name in said, said
    assert "error[logs-found]: 4 findings in logs" in said
    for value in ("tok=en", "tok%3Den", "canary-4711", "12345678", "anna@", "s3cret-word", "Traceback"):
        assert value not in said, value
