"""The service file: what is taken, what is refused, and that no message holds a secret."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_examples import SECRET, full, small
from turnout.checklist.config import Checklist
from turnout.faults import Fault, FaultsError
from turnout.keys import Key, Place, read
from turnout.service import Service, load
from turnout.service.model import Environment, Judge, SmokeTest, Step

BASE = Path("/inventory")


def loaded(value: Any) -> Service:
    return load(value, base_dir=BASE)


def faults_of(value: Any) -> dict[str, str]:
    """Return where the faults are, with what was observed."""
    with pytest.raises(FaultsError) as caught:
        loaded(value)
    assert caught.value.code == "service-invalid"
    assert SECRET not in str(caught.value)
    assert SECRET not in json.dumps([fault.as_dict() for fault in caught.value.faults])
    return {fault.path: fault.observed for fault in caught.value.faults}


def changed(path: str, value: Any, base: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the full service with `value` at the dotted `path`."""
    result = full() if base is None else copy.deepcopy(base)
    *parents, last = path.split(".")
    place = result
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return result


def without(path: str) -> dict[str, Any]:
    result = full()
    *parents, last = path.split(".")
    place = result
    for parent in parents:
        place = place[parent]
    del place[last]
    return result


def test_a_whole_service_is_read():
    service = loaded(full())
    assert service.name == "shop"
    assert service.releases.allowed_signers == Path("/inventory/allowed_signers")
    assert service.releases.s3.ca_file == Path("/inventory/ca.pem")
    assert [one.label for one in service.processes()] == ["api", "worker-jobs", "scheduler"]
    assert service.steps == (Step(1000, 2), Step(10000, 0.5))
    assert service.judge == Judge("http://10.0.0.41:9090", Path("/inventory/objectives"), 900, 600, 300, 2.5)
    assert service.public()["judge"]["slos"] == "/inventory/objectives"
    assert service.workers["jobs"].metrics_ports("green") == (9111, 9112)


def test_environment_values_become_texts_as_a_person_expects():
    environment = loaded(full()).environment
    assert dict(environment) == {
        "DATABASE_URL": f"{SECRET}-d",
        "WORKERS": "8",
        "DEBUG": "false",
        "RATIO": "0.5",
        "EMPTY": "",
    }


def test_a_json_body_is_sent_as_json():
    login = loaded(full()).smoke[1]
    assert json.loads(login.body or "") == {"password": f"{SECRET}-e"}
    assert login.headers["Content-Type"] == "application/json"


def test_the_smallest_service_gets_the_documented_defaults():
    service = loaded(small())
    assert service.user == "shop"
    assert service.workers == {}
    assert service.scheduler is None
    assert service.migrate is None
    assert service.smoke == (SmokeTest(path="/", headers=Environment({"Host": "localhost"})),)
    assert [step.share_bp for step in service.steps] == [500, 2500, 10000]
    assert (service.guard.max_5xx_ratio, service.guard.min_5xx) == (0.02, 3)
    assert service.judge is None
    assert service.warm_s == 3600
    assert service.releases.keep == 5
    assert service.releases.allowed_signers == Path("/etc/signers")


def test_a_default_folder_is_taken_from_the_inventory_too():
    value = full()
    del value["judge"]["slos"]
    assert loaded(value).judge.slos == Path("/inventory/slos")


@pytest.mark.parametrize(
    "path",
    ["environment", "migrate.environment", "releases.http.headers", "releases.s3", "judge.prometheus"],
)
@pytest.mark.parametrize("value", ["DATABASE_URL=s3cr3t@", ["s3cr3t"]])
def test_what_stands_in_place_of_secrets_is_not_shown(path: str, value: object):
    with pytest.raises(FaultsError) as caught:
        loaded(changed(path, value))
    assert "s3cr3t" not in str(caught.value)


def test_one_wrong_variable_does_not_make_the_others_unknown():
    value = changed("environment.LINES", "two\nlines")
    value["api"]["command"] = "bin/api --port ${PORT} --workers ${WORKERS} ${LINES} ${MISSING}"
    assert faults_of(value) == {
        "service.environment.LINES": "a text of several lines",
        "service.api.command": "${MISSING}, which nobody sets",
    }


def test_migrations_have_a_user_of_their_own():
    service = loaded(full())
    assert service.migrate.user == "shop-migrate"
    named = full()
    named["migrate"]["user"] = "dba"
    assert loaded(named).migrate.user == "dba"
    named["name"] = "a-service-with-a-long-name-here"
    del named["migrate"]["user"]
    assert len(loaded(named).migrate.user) <= 32, "longer names are no users' names"


@pytest.mark.parametrize("user", ["root", "shopkeeper"])
def test_a_user_that_could_read_the_owners_password_is_refused(user):
    service = full()
    service["migrate"]["user"] = user
    with pytest.raises(FaultsError) as caught:
        loaded(service)
    assert "migrate.user" in str(caught.value)


def test_the_host_and_headers_of_health_are_what_every_question_about_it_sends():
    value = changed("api.health.host", "shop.example.com:8443")
    value["api"]["health"]["headers"] = {"X-Forwarded-Proto": "https", "Authorization": SECRET}
    service = loaded({**value, "smoke": [{"path": "/a"}, {"path": "/b", "headers": {"host": "b.example.com"}}]})
    assert service.api.health.sent == {
        "Host": "shop.example.com:8443", "X-Forwarded-Proto": "https", "Authorization": SECRET,
    }  # fmt: skip
    assert [dict(test.headers) for test in service.smoke] == [
        {"Host": "shop.example.com:8443"}, {"host": "b.example.com"},
    ]  # fmt: skip
    assert service.full()["api"]["health"]["headers"] == service.api.health.sent
    assert service.public()["api"]["health"]["headers"] == ["Authorization", "Host", "X-Forwarded-Proto"]
    assert SECRET not in repr(service.public())
    value["api"]["health"]["headers"]["Host"] = "another.example.com"
    with pytest.raises(FaultsError, match="a Host header beside host"):
        loaded(value)
    del value["api"]["health"]["host"]
    assert loaded(value).api.health.host == "another.example.com"
    service = loaded(changed("api.health.host", "shop.example.com:8443"))
    value = changed("api.health.host", "shop.example.com:8443")
    value.pop("smoke", None)
    (alone,) = loaded(value).smoke
    assert dict(alone.headers) == service.api.health.sent


@pytest.mark.parametrize("health", [{"path": "/up", "host": "localhost"}, {"path": "/up"}])
def test_smoke_tests_go_to_the_host_that_the_health_check_goes_to_also_where_it_is_localhost(health: Any):
    """An application that lets in only names which it knows (ALLOWED_HOSTS) refuses the address of an edge."""
    service = loaded({**changed("api.health", health), "smoke": [{"path": "/a"}]})
    assert [dict(test.headers) for test in service.smoke] == [{"Host": "localhost"}]


def test_an_empty_list_of_smoke_tests_means_none():
    assert loaded(changed("smoke", [])).smoke == ()


def test_the_public_view_and_the_repr_hold_no_secret():
    service = loaded(full())
    assert SECRET not in json.dumps(service.public())
    assert SECRET not in repr(service)
    assert service.public()["environment"] == ["DATABASE_URL", "DEBUG", "EMPTY", "RATIO", "WORKERS"]


def test_the_full_view_reads_back_as_the_same_service():
    service = loaded(full())
    value: Any = service.full()
    assert load(value, base_dir=BASE) == service


def test_all_faults_are_told_at_once():
    value = full()
    value["api"]["ports"]["green"] = "8002"
    value["workers"]["jobs"]["drain_s"] = -1
    value["enviroment"] = {"X": SECRET}
    del value["releases"]["source"]
    value["steps"][-1]["share_bp"] = 9000
    assert set(faults_of(value)) == {
        "service.api.ports.green",
        "service.workers.jobs.drain_s",
        "service.enviroment",
        "service.releases.source",
        "service.steps",
    }


def test_the_table_names_the_nearest_key_and_the_remedy():
    with pytest.raises(FaultsError) as caught:
        loaded(changed("api.comand", "bin/api"))
    text = str(caught.value)
    assert "service.api.comand" in text
    assert "rename it to `command`" in text


@pytest.mark.parametrize("value", [None, 5, "shop", ["shop"], True])
def test_a_service_that_is_no_mapping_is_one_fault(value):
    assert set(faults_of(value)) == {"service"}


@pytest.mark.parametrize(
    "key", ["api", "worker", "scheduler", "migrate", "releases", "bucket", "guard", "judge", "environment"]
)
@pytest.mark.parametrize("value", [5, "text", ["list"], True])
def test_a_section_of_the_wrong_kind_is_one_fault(key, value):
    assert f"service.{key}" in faults_of(changed(key, value))
    assert not any(path.startswith(f"service.{key}.") for path in faults_of(changed(key, value)))


@pytest.mark.parametrize(
    "path",
    [
        "name",
        "releases",
        "releases.source",
        "releases.allowed_signers",
        "api",
        "api.command",
        "api.ports",
        "api.ports.blue",
        "api.ports.green",
        "workers.jobs.command",
        "scheduler.command",
        "migrate.up",
        "migrate.version",
        "judge.prometheus",
    ],
)
def test_a_missing_key_is_told_with_its_path(path):
    assert faults_of(without(path)) == {f"service.{path}": "no such key"}


@pytest.mark.parametrize(
    "path",
    [
        "user",
        "packages",
        "bucket",
        "smoke",
        "steps",
        "guard",
        "judge",
        "warm_s",
        "environment",
        "worker",
        "scheduler",
        "migrate",
    ],
)
def test_an_optional_key_may_be_absent_or_null(path):
    value = full()
    value["workers"]["jobs"]["metrics_port"] = None
    for variant in (changed(path, None, value), {k: v for k, v in value.items() if k != path}):
        loaded(variant)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "Shop"),
        ("name", "shop_"),
        ("name", "-shop"),
        ("name", "shop-"),
        ("name", "../shop"),
        ("name", "a" * 32),
        ("name", 5),
        ("user", "root"),
        ("user", "a b"),
        ("releases.source", "ftp://host/x"),
        ("releases.source", "releases"),
        ("releases.source", "s3://"),
        ("releases.source", f"https://user:{SECRET}@host/x"),
        ("releases.source", f"https://host/x?token={SECRET}"),
        ("releases.keep", 0),
        ("releases.keep", "5"),
        ("releases.s3.endpoint", "store1:8333"),
        ("releases.s3.secret_key", None),
        ("releases.s3.access_key", 12345),
        ("api.ports.blue", 80),
        ("api.ports.blue", 65536),
        ("api.ports.blue", "8001"),
        ("api.ports.blue", True),
        ("api.ports.blue", 8001.5),
        ("api.ports.red", 8003),
        ("api.health.path", "health"),
        ("api.health.path", "/a b"),
        ("api.health.status", 99),
        ("api.health.status", "200"),
        ("api.health.timeout_s", 0),
        ("api.health.timeout_s", 61),
        ("api.health.timeout_s", 31),
        ("api.health.deadline_s", 0),
        ("api.health.host", "https://shop.example.com"),
        ("api.health.host", "shop example"),
        ("api.health.host", 5),
        ("api.health.headers", {"host": "shop.example.com", "Host": "a"}),
        ("api.health.headers", {"X A": "b"}),
        ("api.health.headers", {"X-A": f"{SECRET}\nmore"}),
        ("workers.jobs.ready", {}),
        ("workers.jobs.ready", {"file": "/tmp/ready", "notify": True}),  # noqa: S108 - a process's own
        ("workers.jobs.ready", {"file": "ready"}),
        ("workers.jobs.ready", {"command": "bin/ready ${NOBODY}"}),
        ("workers.jobs.ready", {"notify": "yes"}),
        ("workers.jobs.ready", {"notify": True, "timeout_s": 0}),
        ("steady_s", 0),
        ("steady_s", "45"),
        ("api.stop_signal", "TERM"),
        ("api.stop_signal", "SIGKILL"),
        ("api.stop_signal", 15),
        ("api.drain_s", -1),
        ("api.drain_s", 1.5),
        ("api.drain_s", "30"),
        ("workers.jobs.instances", 0),
        ("workers.jobs.quiesce_signal", "SIGTERM"),
        ("workers.jobs.quiesce_signal", "SIGUSR3"),
        ("workers.jobs.resume_signal", "SIGUSR1"),
        ("migrate.timeout_s", 0),
        ("environment.1st", "x"),
        ("environment.1X", "x"),
        ("environment.A-B", "x"),
        ("environment.PORT", "x"),
        ("environment.METRICS_PORT", "x"),
        ("environment.TURNOUT_COLOR", "x"),
        ("environment.LIST", [SECRET]),
        ("environment.MAP", {"a": SECRET}),
        ("environment.NONE", None),
        ("environment.LINES", f"{SECRET}\nmore"),
        ("environment.NUL", f"{SECRET}\0"),
        ("environment.SURROGATE", f"{SECRET}\ud800"),
        ("migrate.environment.LINES", f"{SECRET}\nmore"),
        ("migrate.environment.PORT", "5"),
        ("bucket.header", "not a header"),
        ("bucket.cookie", "a;b"),
        ("guard.max_5xx_ratio", 1.5),
        ("guard.max_5xx_ratio", "0.1"),
        ("guard.min_5xx", 0),
        ("judge.prometheus", "10.0.0.41:9090"),
        ("judge.prometheus", f"http://me:{SECRET}@10.0.0.41:9090"),
        ("judge.slos", 5),
        ("judge.patience_s", 0),
        ("judge.bake_s", "5m"),
        ("judge.probes_per_s", -1),
        ("judge.steps", []),
        ("warm_s", -5),
        ("warm_s", "1h"),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(path, value):
    found = faults_of(changed(path, value))
    assert any(where.startswith(f"service.{path.rpartition('.')[0] or path}") for where in found), found


@pytest.mark.parametrize("path", ["packages", "smoke", "steps"])
@pytest.mark.parametrize("value", ["text", 5, {"a": 1}])
def test_a_list_of_the_wrong_kind_is_refused(path, value):
    assert f"service.{path}" in faults_of(changed(path, value))


@pytest.mark.parametrize(
    ("test", "where"),
    [
        ({}, "path"),
        ({"path": "api"}, "path"),
        ({"path": "/", "method": "GETT"}, "method"),
        ({"path": "/", "status": 700}, "status"),
        ({"path": "/", "contains": 5}, "contains"),
        ({"path": "/", "headers": {"X-A": f"{SECRET}\r\nX-B: 1"}}, "headers.X-A"),
        ({"path": "/", "headers": {"X A": SECRET}}, "headers."),
        ({"path": "/", "expect": 200}, "expect"),
    ],
)
def test_a_wrong_smoke_test_is_refused(test, where):
    assert any(path.startswith(f"service.smoke[0].{where}") for path in faults_of(changed("smoke", [test])))


def steps(*shares: int) -> list[dict[str, int]]:
    return [{"share_bp": share, "hold_s": 1} for share in shares]


@pytest.mark.parametrize("shares", [(), (500,), (500, 9999), (500, 400, 10000), (500, 500, 10000)])
def test_steps_must_grow_and_end_with_all_traffic(shares):
    assert any(path.startswith("service.steps") for path in faults_of(changed("steps", steps(*shares))))


@given(st.sets(st.integers(1, 9999), max_size=8))
def test_growing_steps_that_end_with_all_traffic_are_taken(shares):
    wanted = [*sorted(shares), 10000]
    assert [step.share_bp for step in loaded(changed("steps", steps(*wanted))).steps] == wanted


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("api.ports.green", 8001),
        ("workers.jobs.metrics_port.blue", 8001),
        ("workers.jobs.metrics_port.green", 9102),  # instance 2 of blue has it
        ("workers.jobs.metrics_port.blue", 8000),  # instance 2 gets 8001
    ],
)
def test_a_port_has_one_user_only(path, value):
    found = faults_of(changed(path, value))
    assert any("which service." in observed for observed in found.values()), found


def test_header_and_cookie_together_are_refused():
    assert "service.bucket" in faults_of(changed("bucket", {"header": "A", "cookie": "b"}))


@pytest.mark.parametrize(
    ("command", "observed"),
    [
        ("", "an empty text"),
        ("   ", "an empty text"),
        ("+bin/api", "special prefix"),
        ("../bin/api", "`..`"),
        ("bin/api 'open", "never closed"),
        ("bin/api \\q", "escape"),
        ("bin/api ; rm x", "second command"),
        ("bin/api\nbin/other", "several lines"),
        ("bin/api --log %(h)s", "%("),
        ("bin/api --port ${PROT}", "nobody sets"),
        ("bin/api $WROKERS", "nobody sets"),
        ("bin/api --dsn ${DATABASE_URL}", "by its name a secret"),
    ],
)
def test_a_command_that_would_not_run_as_meant_is_refused(command, observed):
    found = faults_of(changed("api.command", command))
    assert observed in found["service.api.command"]


@pytest.mark.parametrize(
    "command",
    [
        "bin/api --port ${PORT} --workers ${WORKERS}",
        "/usr/bin/python3 -m shop $PORT",
        "python3 -m shop",
        "bin/api --format '%%(h)s' --money $$5",
        'sh -c "echo $${HOME}; exec bin/api"',
        "./api --color ${TURNOUT_COLOR}",
        "bin/api --color %i",
    ],
)
def test_commands_in_systemd_syntax_are_taken(command):
    assert loaded(changed("api.command", command)).api.command == command


def test_metrics_port_is_free_as_a_name_where_the_worker_declares_none():
    value = changed("environment.METRICS_PORT", "9000")
    del value["workers"]["jobs"]["metrics_port"]
    assert loaded(value).environment["METRICS_PORT"] == "9000"


def test_values_under_a_misspelt_key_are_never_shown():
    value = full()
    value["enviromnent"] = value.pop("environment")
    value["api"][f"{SECRET} as a key"] = 1
    value["environment"] = {f"{SECRET} again": 1}
    assert faults_of(value)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3), max_leaves=8
)


@settings(max_examples=300)
@given(st.sampled_from(["", *full()]), anything)
def test_whatever_stands_there_is_read_or_refused_but_never_crashes(key, value):
    candidate = value if not key else {**full(), key: value}
    try:
        loaded(candidate)
    except FaultsError as error:
        assert error.faults


def texts(place: Place, path: str = "") -> Iterator[str]:
    """Yield the path of every text that a declaration has."""
    for name, inner in place.keys.items():
        is_list = get_origin(inner.kind) is tuple
        here = inner.inside(0) if is_list else inner
        below = f"{path}{name}" + (".0" if is_list else "")
        if here.kind in (str, Path):
            yield below
        yield from texts(here, f"{below}.")


@pytest.mark.parametrize("address", [f"https://me:{SECRET}@host ", f"https://host/ p?token={SECRET}", f"me:{SECRET}@h"])
@pytest.mark.parametrize("declared", [Service, Checklist])
def test_no_address_that_may_hold_a_secret_is_shown_whatever_key_it_stands_at(declared: Any, address: str) -> None:
    paths = list(texts(Place(declared, Key())))
    assert "releases.s3.endpoint" in paths or "prometheus.url" in paths
    for path in paths:
        value: Any = address
        for step in reversed(path.split(".")):
            value = [value] if step == "0" else {step: value}
        faults: list[Fault] = []
        read(declared, value, "file", faults)
        assert SECRET not in str([fault.as_dict() for fault in faults]), path


@pytest.mark.parametrize("address", ["https://me:word@host", "https://host/?a=b", "https://host/#a"])
def test_an_s3_server_has_no_user_and_no_query_in_its_address(address: str) -> None:
    value = changed("releases.s3", {"endpoint": address})
    assert faults_of(value) == {"service.releases.s3.endpoint": "a text"}
