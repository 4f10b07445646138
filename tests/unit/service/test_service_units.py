"""Commands and drop-ins: what is written in the service file is what systemd runs."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from service_examples import SECRET, full
from turnout.service import load
from turnout.service.commands import CommandError, argv, command_line, split, variables
from turnout.service.layout import Layout
from turnout.service.units import drop_ins, unit_names

BASE = Path("/inventory")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("bin/api --port ${PORT}", "/opt/shop/blue/bin/api --port ${PORT}"),
        ("./api", "/opt/shop/blue/api"),
        ("/usr/bin/env  x", "/usr/bin/env  x"),
        ("python3 -m shop", "python3 -m shop"),
        ('"bin/my api" a', '"/opt/shop/blue/bin/my api" a'),
        (r"bin/my\x20api a 'b c'", "\"/opt/shop/blue/bin/my api\" a 'b c'"),
    ],
)
def test_a_relative_program_is_the_releases_own(command, expected):
    assert command_line(command, "/opt/shop/blue") == expected


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("a  b\tc", ["a", "b", "c"]),
        ("a 'b \"c' \"d 'e\"", ["a", 'b "c', "d 'e"]),
        (r"a \"b\" \x41\u00e9\101\n\s", ["a", '"b"', "AéA\n "]),
        ("a '' b", ["a", "", "b"]),
    ],
)
def test_commands_are_split_as_systemd_does(command, words):
    assert [word.value for word in split(command)] == words


@pytest.mark.parametrize("command", ["a 'b", 'a "b', "a \\", r"a \q", r"a \x0", r"a \x00", r"a \U00110000"])
def test_what_systemd_would_refuse_is_refused(command):
    with pytest.raises(CommandError):
        split(command)


@given(st.lists(st.text(alphabet="abc \t'\"\\", min_size=1, max_size=6), min_size=1, max_size=5))
def test_quoted_words_are_split_back(words):
    quoted = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"' for word in words)
    assert [word.value for word in split(quoted)] == words


def test_variables_are_those_that_systemd_puts_in():
    assert variables("a ${B} $C x$D $$E $${F} 'g ${H}' \"$I\" ${J}${B}") == ["B", "C", "H", "I", "J"]


def test_words_for_systemd_run_keep_variables():
    assert argv("bin/migrate --to ${N} 100%%", "/r") == ["/r/bin/migrate", "--to", "${N}", "100%"]


def test_drop_ins_hold_what_belongs_to_the_release_and_no_secret():
    texts = drop_ins(load(full(), base_dir=BASE), "green")
    assert set(texts) == {
        "shop-api@green.service.d/turnout.conf",
        "shop-worker-jobs@green.service.d/turnout.conf",
        "shop-worker-jobs@green-2.service.d/turnout.conf",
        "shop-scheduler@green.service.d/turnout.conf",
    }
    api = texts["shop-api@green.service.d/turnout.conf"]
    assert "ExecStart=/opt/shop/green/bin/api --port ${PORT}\n" in api
    assert "Environment=PORT=8002\n" in api
    assert "KillSignal=SIGINT\n" in api
    assert "TimeoutStopSec=25\n" in api
    assert "Environment=METRICS_PORT=9112\n" in texts["shop-worker-jobs@green-2.service.d/turnout.conf"]
    assert SECRET not in "".join(texts.values())


def test_a_unit_of_an_image_sees_the_image_as_its_root():
    layout = Layout("/app", "/opt/shop/green/rootfs", {"PATH": "/app/bin:/bin", "GREETING": 'a "b" 100%\\'})
    api = drop_ins(load(full(), base_dir=BASE), "green", layout)["shop-api@green.service.d/turnout.conf"]
    assert "RootDirectory=/opt/shop/green/rootfs\n" in api
    assert "BindReadOnlyPaths=-/etc/hosts -/etc/resolv.conf\n" in api
    assert "WorkingDirectory=/app\n" in api
    assert "ExecStart=/app/bin/api --port ${PORT}\n" in api
    assert 'Environment="GREETING=a \\"b\\" 100%%\\\\"\n' in api
    assert api.index('Environment="PATH=') < api.index("Environment=PORT=")
    files = drop_ins(load(full(), base_dir=BASE), "green")["shop-api@green.service.d/turnout.conf"]
    assert "RootDirectory" not in files


def test_every_instance_of_a_worker_has_a_unit():
    service = load(full(), base_dir=BASE)
    api, worker, _ = service.processes()
    assert unit_names(service, "blue", worker) == ["shop-worker-jobs@blue.service", "shop-worker-jobs@blue-2.service"]
    assert unit_names(service, "blue", api) == ["shop-api@blue.service"]
    named = replace(worker, name="mails")
    assert unit_names(service, "blue", named) == ["shop-worker-mails@blue.service", "shop-worker-mails@blue-2.service"]


def test_a_process_with_a_name_is_told_by_it():
    service = load(full(), base_dir=BASE)
    named = replace(service.processes()[1], name="mails")
    assert (named.label, named.key, named.instances) == ("worker-mails", "workers.mails", 2)
    texts = drop_ins(service, "blue", processes=[named])
    assert list(texts) == [f"shop-worker-mails@blue{k}.service.d/turnout.conf" for k in ("", "-2")]
    assert "Description=shop worker-mails (%i)\n" in texts["shop-worker-mails@blue.service.d/turnout.conf"]
    assert "SyslogIdentifier=shop-worker-mails-%i\n" in texts["shop-worker-mails@blue.service.d/turnout.conf"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_itself_accepts_the_drop_ins(tmp_path):
    value = full()
    value["api"]["command"] = "/bin/sh -c 'exec sleep \"$${HOME}\" 1 %%' ${PORT}"
    value["workers"]["jobs"]["command"] = "/bin/true --queue 'a b'"
    value["scheduler"]["command"] = "/bin/true"
    for name, text in drop_ins(load(value, base_dir=BASE), "blue").items():
        unit = tmp_path / name.partition(".d/")[0].replace("@", "-")
        service = "\n".join(line for line in text.splitlines() if not line.startswith("WorkingDirectory"))
        unit.write_text(service.replace("EnvironmentFile=/", "EnvironmentFile=-/"))
        result = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert unit.name not in result.stderr, result.stderr


@pytest.mark.parametrize(
    ("ready", "lines"),
    [
        ({"file": "/tmp/ready"}, ['X-Turnout-Ready={"file": "/tmp/ready", "notify": false, "timeout_s": 60}']),  # noqa: S108
        (
            {"command": "bin/ready --for '${MODE} now'", "timeout_s": 5},
            ['X-Turnout-Ready={"argv": ["/opt/shop/blue/bin/ready", "--for", "${MODE} now"], "timeout_s": 5}'],
        ),
        (
            {"notify": True},
            [
                *("Type=notify", "NotifyAccess=all", "TimeoutStartSec=60"),
                'X-Turnout-Ready={"file": null, "notify": true, "timeout_s": 60}',
            ],
        ),
    ],
)
def test_a_drop_in_says_how_a_worker_tells_that_it_is_ready(ready: dict[str, object], lines: list[str]) -> None:
    value = full()
    value["workers"]["jobs"]["ready"] = ready
    value["environment"]["MODE"] = "web"
    text = drop_ins(load(value, base_dir=BASE), "blue")
    for unit in ("shop-worker-jobs@blue.service", "shop-worker-jobs@blue-2.service"):
        assert [one for one in text[f"{unit}.d/turnout.conf"].splitlines() if one in lines] == lines
    assert "Ready" not in text["shop-api@blue.service.d/turnout.conf"]
