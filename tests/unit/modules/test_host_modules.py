"""What the modules on the hosts decide by themselves; what they do to systemd and HAProxy is tried on the lab."""

from __future__ import annotations

import importlib
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible_collections.turnout.ops.plugins.module_utils import laid_release
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
Load = Callable[[str], ModuleType]


# --- migrate: no secret leaves the host ----------------------------------------------------------------------------


def test_every_value_of_the_environment_is_hidden_in_the_output(load: Load) -> None:
    migrate = load("migrate")
    text = 'MIGRATE_DATABASE_URL="postgresql://owner:s3cr3t-word@db/sample"\nAPI_KEY=abcd1234\n# NOTE=visible\n'
    secrets = migrate.secrets_of(laid_release.environment_of(text))
    said = "cannot reach postgresql://owner:s3cr3t-word@db/sample, password s3cr3t-word, key abcd1234, visible"
    hidden = migrate.redact(said, secrets)
    assert "s3cr3t-word" not in hidden
    assert "abcd1234" not in hidden
    assert "[API_KEY]" in hidden
    assert "visible" in hidden


@given(
    st.dictionaries(st.from_regex(r"[A-Z]{1,8}", fullmatch=True), st.text("abcdef0123456789", min_size=4), max_size=6)
)
def test_no_value_of_four_characters_or_more_survives_redaction(values: dict[str, str]) -> None:
    migrate = _migrate()
    said = " | ".join(values.values())
    hidden = migrate.redact(said, migrate.secrets_of(values))
    for value in values.values():
        # A name in brackets is all capitals, so that a value of lower-case letters and digits cannot be one.
        assert value not in hidden


def _migrate() -> ModuleType:
    """Load the module without a fixture, which hypothesis would reuse between examples."""
    return importlib.import_module("ansible_collections.turnout.ops.plugins.modules.migrate")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("bin/migrate up", ["/r/bin/migrate", "up"]),
        ("/usr/bin/goose up", ["/usr/bin/goose", "up"]),
        ("python3 manage.py 'migrate now'", ["python3", "manage.py", "migrate now"]),
    ],
)
def test_a_program_with_a_slash_is_looked_for_inside_the_release(command: str, words: list[str]) -> None:
    layout = {"folder": "/r", "properties": {}, "environment": {}}
    argv = laid_release.in_unit("some-unit", command, layout, {})
    assert argv[argv.index("--") + 1 :] == words


def test_what_turnout_itself_sets_is_no_secret_of_a_migrations_output() -> None:
    """A service's name stands in the names of tables and folders: without it no error can be understood."""
    values = {"TURNOUT_SERVICE": "shop", "TURNOUT_RELEASE": "1.4.2", "TURNOUT_COLOR": "green", "SECRET_KEY": "hide-me"}
    said = 'column "place" of "shop_job" already exists (/opt/shop/releases/1.4.2-3f/green.py, hide-me)'
    migrate = _migrate()
    assert migrate.redact(said, migrate.secrets_of(values)) == said.replace("hide-me", "[SECRET_KEY]")


def test_migrations_run_as_their_own_user_and_a_host_without_it_is_told(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate = load("migrate")
    seen: list[list[str]] = []
    done = types.SimpleNamespace(returncode=0, stdout="3\n", stderr="")
    monkeypatch.setattr(migrate.subprocess, "run", lambda argv, **_: seen.append(argv) or done)
    layout = {"folder": "/r", "root": "", "environment": {}, "properties": {}}
    params = {"service": "shop", "user": "nobody", "layout": layout, "version_command": "v", "timeout_s": 5}
    params |= {"tool": "", "listed": {"order": "number", "migrations": []}}
    assert migrate.read_state(params, "/run/turnout/x.env", [])[1]["version"] == 3
    assert "--property=User=nobody" in seen[0]
    assert "--property=ProtectProc=invisible" in seen[0]
    migrate.check_user("nobody")
    with pytest.raises(migrate.MigrateError, match=r"no user shop-migrate.*--tags service_host"):
        migrate.check_user("shop-migrate")


# --- units: which a color has, and what its drop-in says ------------------------------------------------------------


def _drop_in(folder: Path, unit: str, text: str = "") -> None:
    (folder / f"{unit}.d").mkdir()
    (folder / f"{unit}.d" / "turnout.conf").write_text(text)


UNITS = {"service": "a", "run": "r1", "fence": 1, "color": "blue", "processes": ["api"], "state": "steady"}


def test_options_of_units_are_taken_as_templates_give_them(load: Load) -> None:
    units = load("units")
    given = {**UNITS, "processes": "api,worker", "steady_s": "0.5", "_ansible_check_mode": False}
    assert units.options_of(given) == {
        **UNITS, "processes": ["api", "worker"], "steady_s": 0.5, "start_timeout_s": 30, "at_boot": False,
        "by_word": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"color": "red"}, "color is red; expected: blue, green"),
        ({"processes": ["api", "cron"]}, "processes is api, cron; expected: api, worker, scheduler"),
        ({"state": "gone"}, "state is gone; expected: started, quiesced, stopped, steady, running, fenced, homed"),
        ({"state": None}, "ansible-doc turnout.ops.units"),
        ({"stat": "steady"}, "ansible-doc turnout.ops.units"),
        ({"steady_s": "soon"}, "as numbers"),
        ({"fence": "many"}, "as numbers"),
        ({"fence": None}, "ansible-doc turnout.ops.units"),
        ({"run": ""}, "ansible-doc turnout.ops.units"),
    ],
)
def test_options_of_units_that_make_no_sense_are_refused(load: Load, change: dict[str, object], words: str) -> None:
    units = load("units")
    with pytest.raises(units.UnitError) as refused:
        units.options_of({**UNITS, **change})
    assert words in str(refused.value)


def test_a_color_has_the_units_whose_drop_ins_were_laid(load: Load, tmp_path: Path) -> None:
    units = load("units")
    for unit in (
        "a-worker@blue.service",
        "a-worker@blue-2.service",
        "a-worker@green.service",
        "aa-worker@blue.service",
    ):
        _drop_in(tmp_path, unit)
    (tmp_path / "a-worker@blue-3.service.d").mkdir()
    found = [unit.name for unit in units.units_of("a", "worker", "blue", str(tmp_path))]
    assert found == ["a-worker@blue-2.service", "a-worker@blue.service"]
    assert units.units_of("a", "scheduler", "blue", str(tmp_path)) == []


def test_signals_come_from_the_drop_in_of_the_release(load: Load, tmp_path: Path) -> None:
    units = load("units")
    _drop_in(tmp_path, "a-worker@blue.service", "[Service]\nExecStart=/x\nX-Turnout-Quiesce=SIGTSTP\n")
    unit = units.units_of("a", "worker", "blue", str(tmp_path))[0]
    assert unit.setting("X-Turnout-Quiesce") == "SIGTSTP"
    assert unit.setting("X-Turnout-Resume") is None


# --- guard: counters of HAProxy in, a decision out -------------------------------------------------------------------


def _edge_that_says(looks: list[dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Return an edge that answers `show` with the next of `looks`, the last of them for ever."""
    left = list(looks)

    def edge(*_words: str) -> dict[str, Any]:
        return left.pop(0) if len(left) > 1 else left[0]

    return edge


def _shows(backend: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"ok": True, "backends": {"green": backend}, **more}


def _look(ok: int, bad: int, up: bool = True) -> dict[str, Any]:
    counters = dict.fromkeys(("hrsp_1xx", "hrsp_3xx", "hrsp_4xx", "hrsp_other"), 0)
    return {"servers": [{"name": "app1", "up": up}], "hrsp_2xx": ok, "hrsp_5xx": bad, **counters}


PARAMS = {
    "run": "r1", "color": "green", "hold_s": 0.6, "poll_s": 0.1, "max_5xx_ratio": 0.02, "min_5xx": 3, "share_bp": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("looks", "failing"),
    [
        ([_look(0, 0), _look(100, 0)], False),
        ([_look(0, 50), _look(100, 50)], False),  # errors of before this step are not its own
        ([_look(0, 0), _look(100, 3)], True),  # 2.9 %
        ([_look(0, 0), _look(1000, 3)], False),  # 0.3 %
        ([_look(0, 0), _look(0, 2)], False),  # fewer than min_5xx
        ([_look(0, 0), _look(10, 0, up=False)], True),
        ([_look(500, 500), _look(0, 40)], True),  # HAProxy was restarted: the new value is the growth
        ([_look(500, 500), _look(90, 0)], False),
    ],
)
def test_the_guard_goes_back_on_errors_of_this_step_only(
    load: Load, monkeypatch: pytest.MonkeyPatch, looks: list[dict[str, Any]], failing: bool
) -> None:
    guard = load("guard")
    monkeypatch.setattr(guard, "edge", _edge_that_says([_shows(look) for look in looks]))
    fault, _, _ = guard.watch(PARAMS)
    assert (fault is not None) == failing


@pytest.mark.parametrize(
    ("stable", "failing"),
    [
        ([_look(0, 0), _look(1000, 0)], True),
        ([_look(0, 0), _look(0, 900)], False),  # both are out: 100 % and 50 %
        ([_look(0, 0), _look(900, 100)], True),  # 10 % of stable's, 50 % of the candidate's
    ],
)
def test_an_outage_of_both_colors_is_not_blamed_on_the_candidate(
    load: Load, monkeypatch: pytest.MonkeyPatch, stable: list[dict[str, Any]], failing: bool
) -> None:
    guard = load("guard")
    candidate = [_look(0, 0), _look(50, 50)]
    both = [
        {"ok": True, "stable": "blue", "backends": {"green": one, "blue": other}}
        for one, other in zip(candidate, stable, strict=True)
    ]
    monkeypatch.setattr(guard, "edge", _edge_that_says(both))
    fault, _, _ = guard.watch(PARAMS)
    assert (fault is not None) == failing


def test_a_web_process_that_fails_for_the_few_who_use_it_is_seen_by_itself_and_named(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = load("guard")

    def look(bad: int) -> dict[str, Any]:
        admin = {"hrsp_2xx": 0, "hrsp_5xx": bad}
        return {**_look(1000 * bad, bad), "web": {"admin": admin, "events": {"hrsp_2xx": 5 * bad, "hrsp_5xx": 0}}}

    monkeypatch.setattr(guard, "edge", _edge_that_says([_shows(look(0)), _shows(look(4))]))
    fault, requests, errors = guard.watch(PARAMS)
    assert fault is not None
    assert fault.startswith("4 of the 4 responses of web-admin in this step were 5xx (100.0%)")
    assert (requests, errors) == (4004, 4)
    assert guard.parts(look(4))["api"] == (3980, 0)


@pytest.mark.parametrize("stable_up", [True, False])
def test_a_host_that_is_down_for_both_colors_is_not_the_candidates_fault(
    load: Load, monkeypatch: pytest.MonkeyPatch, stable_up: bool
) -> None:
    guard = load("guard")
    backends = {"green": _look(5, 0, up=False), "blue": _look(5, 0, up=stable_up)}
    monkeypatch.setattr(guard, "edge", _edge_that_says([{"ok": True, "stable": "blue", "backends": backends}]))
    fault, _, _ = guard.watch({**PARAMS, "hold_s": 0.2})
    assert (fault is not None) == stable_up


def test_the_guard_of_a_judged_step_ends_with_the_verdict_on_that_step(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = load("guard")
    here = {"candidate": "green", "share_bp": 500}
    verdict = {"action": "verdict", "run": "r1", "detail": {"share_bp": 500}}
    others = [{**verdict, "run": "r0"}, {**verdict, "detail": {"share_bp": 2500}}]
    goes_on, over = _shows(_look(5, 0), **here, journal=others), _shows(_look(5, 0), **here, journal=[*others, verdict])
    monkeypatch.setattr(guard, "edge", _edge_that_says([goes_on, goes_on, over]))
    assert guard.watch({**PARAMS, "share_bp": 500, "hold_s": 60}) == (None, 0, 0)


def test_the_guard_of_a_judged_step_fails_where_somebody_else_moved_the_traffic(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = load("guard")
    moved = _shows(_look(5, 0), candidate="green", share_bp=0, journal=[])
    monkeypatch.setattr(guard, "edge", _edge_that_says([moved]))
    with pytest.raises(guard.GuardError, match="somebody else moved"):
        guard.watch({**PARAMS, "share_bp": 500, "hold_s": 60})


def test_an_edge_that_says_nothing_is_an_error_and_not_a_pass(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = load("guard")
    monkeypatch.setitem(sys.modules, "turnout_edge.cli", None)
    with pytest.raises(guard.GuardError):
        guard.watch(PARAMS)


# --- http: what counts as an answer ----------------------------------------------------------------------------------


class _Service(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/up" else 503)
        self.end_headers()
        self.wfile.write(f"color={self.headers.get('X-Turnout-Color')}".encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.parametrize(
    ("request_", "good"),
    [
        ({"path": "/up"}, True),
        ({"path": "/up", "contains": "color=green"}, True),
        ({"path": "/up", "contains": "color=blue"}, False),
        ({"path": "/down"}, False),
        ({"path": "/down", "status": 503}, True),
    ],
)
def test_an_answer_counts_when_status_and_body_are_as_expected(
    load: Load, address: str, request_: dict[str, Any], good: bool
) -> None:
    http = load("http")
    params = {
        "base_url": address, "requests": [request_], "headers": {"X-Turnout-Color": "green"}, "timeout_s": 2,
    }  # fmt: skip
    answers, faults = http.one_round(params, None)
    assert len(answers) == 1
    assert (faults == []) == good


def test_no_answer_is_a_fault(load: Load) -> None:
    http = load("http")
    params = {"base_url": "http://127.0.0.1:1", "requests": [{"path": "/"}], "headers": {}, "timeout_s": 1}
    answers, faults = http.one_round(params, None)
    assert (answers, len(faults)) == ([], 1)


class _Picky(BaseHTTPRequestHandler):
    """Django, as it is for a Host that it does not know."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"<h1>Bad Request</h1>\n {self.headers.get('Authorization')} k3y-of-the-shop".encode()
        self.send_response(200 if self.headers["Host"] == "shop.example.com" else 400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def picky() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Picky)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_the_host_of_the_service_file_is_what_an_application_sees(load: Load, picky: str) -> None:
    params = {"base_url": picky, "headers": {}, "timeout_s": 2}
    requests = [{"path": "/up", "headers": {"Host": host}} for host in ("shop.example.com", "other.example.com")]
    _, faults = load("http").one_round({**params, "requests": requests}, None)
    assert faults == ["GET /up answered 400, expected 200"]


def test_a_failed_health_check_tells_what_was_sent_what_came_and_the_units_last_lines_and_no_secret(
    load: Load, picky: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = load("http")
    monkeypatch.setattr(http, "LIBRARY", str(ROOT / "roles/service_host/files"))
    said = http.library()
    monkeypatch.setattr(said, "secrets_of_unit", lambda unit: [("k3y-of-the-shop", "SECRET_KEY")])
    monkeypatch.setattr(said, "last_lines", lambda unit: [f"{unit}: Invalid HTTP_HOST header: 'localhost'"])
    request = {"path": "/up", "headers": {"Host": "localhost", "Authorization": "Basic c2VjcmV0"}}
    exchanges: list[dict[str, Any]] = []
    http.one_round({"base_url": picky, "headers": {}, "timeout_s": 2, "requests": [request]}, None, exchanges)
    (exchange,) = exchanges
    assert http.told(exchange, "") == "sent: GET /up, Host: localhost, Authorization; came: HTTP/1.1 400 Bad Request"
    text = http.told(exchange, "shop-api@blue.service")
    assert text == (
        "sent: GET /up, Host: localhost, Authorization; came: HTTP/1.1 400 Bad Request; "
        "its body begins: <h1>Bad Request</h1> [a header] [SECRET_KEY]"
    )
    assert http.last_lines("shop-api@blue.service") == (
        "; last lines of shop-api@blue.service: shop-api@blue.service: Invalid HTTP_HOST header: 'localhost'"
    )
    assert http.last_lines("") == ""
    # What must be hidden is not known: no body.
    monkeypatch.setattr(said, "secrets_of_unit", lambda unit: (_ for _ in ()).throw(FileNotFoundError()))
    assert "body" not in http.told(exchange, "shop-api@blue.service")


def test_where_nobody_answers_the_request_is_told_too(load: Load) -> None:
    http = load("http")
    exchanges: list[dict[str, Any]] = []
    request = {"path": "/up", "headers": {"Host": "localhost"}}
    params = {"base_url": "http://127.0.0.1:1", "headers": {}, "timeout_s": 1, "requests": [request]}
    http.one_round(params, None, exchanges)
    assert http.told(exchanges[0], "") == "sent: GET /up, Host: localhost; came: no answer"


def test_requests_in_turn_at_a_steady_rate_count_what_failed(load: Load, address: str) -> None:
    http = load("http")
    requests = [{"path": "/up", "contains": "color=green"}, {"path": "/down"}]
    params = {
        "base_url": address, "requests": requests, "headers": {"X-Turnout-Color": "green"}, "timeout_s": 2,
        "for_s": 0.5, "per_s": 20,
    }  # fmt: skip
    sent, unexpected = http.go_on(params, None)
    assert 2 <= sent <= 10
    assert unexpected == sent // 2


def test_the_guard_goes_back_and_quarantines_in_one_command(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = load("guard")
    asked = []

    def ask(*words: str) -> tuple[int, dict[str, Any], str]:
        asked.append(words)
        return 4, {"ok": False, "error": {"observed": "the lock"}, "quarantined": True}, "the lock"

    monkeypatch.setattr(guard, "ask", ask)
    back = guard.go_back({"run": "R", "actor": "anna"}, "5xx")
    assert asked == [("rollback", "--put-back", "--quarantine=5xx", "--run", "R", "--actor", "anna")]
    assert back["quarantined"] is True


def test_nothing_writes_a_quarantine_of_its_own() -> None:
    """One program enters it, under its lock and with the move: a second way would part the two again."""
    roles = Path(__file__).resolve().parents[3]
    sources = [path for part in ("roles", "plugins", "scripts") for path in sorted(roles.glob(f"{part}/**/*.py"))]
    sources += roles.glob("roles/**/*.yml")
    assert len(sources) > 100
    writing = [path for path in sources if re.search(r"""["']?kind["']?: ["']?quarantine""", path.read_text())]
    assert [path.relative_to(roles).as_posix() for path in writing] == [
        "roles/edge/files/turnout_edge/rollback.py",
    ]
