"""Commands of the service file: what only a shell does is refused, and what systemd reads as it is meant is taken."""

import ctypes
import functools
import operator
from pathlib import Path
from typing import Any

import pytest
from service_examples import full
from turnout.faults import Fault, FaultsError
from turnout.service import commands, load
from turnout.service.commands import CommandError, check_program

COMMANDS = ("api.command", "workers.jobs.command", "scheduler.command", "migrate.up", "migrate.version", "migrate.down")


def faults(path: str, command: str) -> list[Fault]:
    value: dict[str, Any] = full()
    *parts, key = path.split(".")
    functools.reduce(operator.getitem, parts, value)[key] = command
    try:
        load(value, base_dir=Path("/inventory"))
    except FaultsError as error:
        return list(error.faults)
    return []


SHELL = [
    ("bin/api --port ${PORT:-8080}", "${PORT:-8080}", "${PORT}"),
    ("bin/api --port ${PORT-8080}", "${PORT-8080}", "${PORT}"),
    ("bin/api --port '${PORT-8080}'", "${PORT-8080}", "${PORT}"),
    ('bin/api "--port=${PORT:=80}"', "${PORT:=80}", "${PORT}"),
    ("bin/api ${HOME%/}", "${HOME%/}", "${HOME}"),
    ("bin/api ${#HOME}", "${#HOME}", "/bin/sh -c"),
    ("bin/api --bind :$PORT", "$PORT", "${PORT}"),
    ('bin/api --bind "0.0.0.0:$PORT"', "$PORT", "${PORT}"),
    ("bin/api $PORT/x", "$PORT/x", "${PORT}"),
    ("bin/api '$PORT/x'", "$PORT/x", "${PORT}"),
    ("bin/api --bind=:$PORT --x", "$PORT", "${PORT}"),
    ("bin/migrate && bin/api", "'&&'", "/bin/sh -c"),
    ("bin/api || true", "'||'", "/bin/sh -c"),
    ("bin/a&&bin/b", "'&&'", "/bin/sh -c"),
    ("bin/api | tee log", "'|'", "/bin/sh -c"),
    ("bin/api |& tee log", "'|'", "/bin/sh -c"),
    ("bin/api; bin/b", "';'", "/bin/sh -c"),
    ("bin/api ; rm x", "second command", "/bin/sh -c"),
    ("bin/api &", "'&'", "/bin/sh -c"),
    ("bin/api > /var/log/x", "'>'", "/bin/sh -c"),
    ("bin/api >>/var/log/x 2>&1", "'>>'", "/bin/sh -c"),
    ("bin/api 2>/dev/null", "'>'", "/bin/sh -c"),
    ("bin/api < config", "'<'", "/bin/sh -c"),
    ("bin/api << EOF", "'<<'", "/bin/sh -c"),
    ("GOGC=50 bin/api", "GOGC=", "service.environment"),
    ("A=1 B=2 bin/api", "A=", "service.environment"),
    ("PYTHONPATH+=:lib python3 -m shop", "PYTHONPATH=", "service.environment"),
    ("bin/api --workers $(nproc)", "$(nproc)", "/bin/sh -c"),
    ('bin/api --workers "$(nproc)"', "$(nproc)", "/bin/sh -c"),
    ("bin/api --workers=$(nproc)", "$(...)", "/bin/sh -c"),
    ("bin/api --workers=$((2*4))", "$(...)", "/bin/sh -c"),
    ("bin/api --workers `nproc`", "`...`", "/bin/sh -c"),
    ('bin/api "`date`"', "`...`", "/bin/sh -c"),
    ("bin/api ~/conf", "home folder", "/bin/sh -c"),
    ("~deploy/bin/api", "home folder", "/bin/sh -c"),
    ("bin/migrate migrations/*.sql", "pattern of files", "/bin/sh -c"),
    ("bin/migrate *.sql", "pattern of files", "/bin/sh -c"),
    ("bin/api # the API", "comment", "/bin/sh -c"),
    ("cd app && bin/api", "'cd'", "/bin/sh -c"),
    ("exec bin/api", "'exec'", "take `exec` away"),
    (". ./env && bin/api", "'.'", "/bin/sh -c"),
    ("source venv/bin/activate", "'source'", "/bin/sh -c"),
    ("export A=1", "'export'", "/bin/sh -c"),
    ("ulimit -n 4096", "'ulimit'", "/bin/sh -c"),
    ("(bin/a)", "(bin/a)", "/bin/sh -c"),
    ("! bin/api", "'!'", "/bin/sh -c"),
    ("/bin/sh -c 'exec bin/a' && bin/b", "'&&'", "/bin/sh -c"),
    ("/bin/sh -c '$HOME/bin/api --all'", "systemd takes for a variable", "$$"),
    ("/bin/sh -c 'echo ${1#x}'", "${1#x}", "$${"),
    ("/bin/sh -c exec bin/api --port 1", "'exec' alone", "/bin/sh -c 'exec ...'"),
    ("env A=1 bash -euc bin/api --port ${PORT}", "'bin/api' alone", "/bin/sh -c 'exec ...'"),
    ("bin/migrate migrations/?.sql", "pattern of files", "/bin/sh -c"),
    ("bin/migrate migrations/[0-9].sql", "pattern of files", "/bin/sh -c"),
    ("bin/migrate migrations/{a,b}.sql", "braces", "/bin/sh -c"),
    ("bin/migrate 000{1..9}.sql", "braces", "/bin/sh -c"),
]


@pytest.mark.parametrize(("command", "observed", "remedy"), SHELL)
def test_what_needs_a_shell_is_refused_with_what_to_write(command: str, observed: str, remedy: str) -> None:
    found = {fault.path: fault for fault in faults("api.command", command)}["service.api.command"]
    assert observed in found.observed
    assert remedy in found.remedy


def test_a_secret_of_any_case_is_kept_off_the_command_line() -> None:
    value: dict[str, Any] = full()
    value["environment"]["db_password"] = "hunter2"
    value["api"]["command"] = "bin/api --password ${db_password}"
    with pytest.raises(FaultsError) as caught:
        load(value, base_dir=Path("/inventory"))
    assert [fault.path for fault in caught.value.faults] == ["service.api.command"]
    assert "by its name a secret" in caught.value.faults[0].observed


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_of_the_service_is_looked_at(path: str) -> None:
    assert [fault.path for fault in faults(path, "bin/x && bin/y")] == [f"service.{path}"]


@pytest.mark.parametrize(
    "command",
    [
        "/bin/sh -c 'exec bin/api --port ${PORT:-8080}'",
        "/bin/sh -c 'exec bin/api --bind :$PORT --workers $(nproc)'",
        '/bin/sh -c "exec bin/api --bind :$PORT --workers $(nproc) `date` > /tmp/x"',
        "/bin/bash -euo pipefail -c 'cd app && ./run | tee x'",
        "bash -lc 'source venv/bin/activate && exec gunicorn'",
        "env GOGC=50 bin/api",
        "env sh -c 'exec a; b'",
        "timeout 60 sh -c 'a && b'",
        "bin/api --format 'a|b > c; d & e `f` $(g) ~ *.x'",
        'bin/api --format "a|b > c; d && e # f"',
        "bin/api --url http://h/?a=1&b=2",
        "bin/api --forwarded-allow-ips=*",
        "bin/api --forwarded-allow-ips *",
        "bin/api --urls http://*:5000",
        "bin/api --include='*.py'",
        "bin/api --ref HEAD~1",
        "bin/api --price a$$5",
        "bin/api '^a$'",
        "bin/api --regex=^a$",
        "bin/api '${PORT:-8080}'",
        "bin/api --color '#fff'",
        "bin/api -c 'config'",
        "bin/api --name $$HOME",
        'bin/api "a b" \\x7c \\x26',
        "bin/api $PORT ${PORT} --x=${PORT}/y",
        "/usr/bin/time -v bin/api",
        "/bin/sh -c bin/api",
        "/bin/sh -c 'exec bin/api' name-of-it",
        "bin/api --listen [::]:80 [::1]:81 http://[::1]/?a=1 /health?full=1 --labels {a=1,b=2} --ids {1,2}",
        "bin/api --glob='x/{a,b}/?.[ch]'",
        "bin/api a=b",
    ],
)
def test_what_is_meant_as_it_stands_is_taken(command: str) -> None:
    assert faults("api.command", command) == []


LIBRARY = sorted(Path("/usr/lib").glob("*/systemd/libsystemd-shared-*.so"))


def by_systemd(words: list[str], environment: dict[str, str]) -> list[str]:
    """Return what systemd's own code makes of a command's words."""
    library = ctypes.CDLL(LIBRARY[-1])
    texts = ctypes.POINTER(ctypes.c_char_p)
    library.replace_env_argv.argtypes, library.replace_env_argv.restype = [texts, texts], texts
    assignments = [f"{name}={value}" for name, value in environment.items()]
    given, variables = (
        (ctypes.c_char_p * (len(one) + 1))(*[text.encode() for text in one], None) for one in (words, assignments)
    )
    found = library.replace_env_argv(given, variables)
    result: list[str] = []
    while found[len(result)] is not None:
        result.append(found[len(result)].decode())
    return result


@pytest.mark.skipif(not LIBRARY, reason="systemd's library is not here, to be asked")
@pytest.mark.parametrize(
    "word",
    [
        *("$PORT", "${PORT}", ":$PORT", "$PORT/x", "${PORT:-8}", "${PORT-8}", "x${PORT%y}z", "$$PORT", "a$$PORT", "$"),
        *("$(nproc)", "a$(nproc)", "${#PORT}", "${PORT", "a$", "$$", "${1}", "$1", "a$1", "${PORT:+x}", "$$${PORT}"),
    ],
)
def test_a_word_that_is_taken_reaches_the_program_as_it_stands_or_with_its_variable(word: str) -> None:
    """Outside a shell: nothing is lost, and no `$` is left that a shell would have resolved."""
    try:
        check_program(f"bin/api {word}")
    except CommandError:
        return
    read = commands.split(f"bin/api {word}")[1].value
    plain = read.replace("$$", "\0").replace("${PORT}", "80").replace("\0", "$")
    assert by_systemd(["bin/api", read], {"PORT": "80"}) == ["bin/api", "80" if word == "$PORT" else plain]


@pytest.mark.skipif(not LIBRARY, reason="systemd's library is not here")
@pytest.mark.parametrize("script", ["exec a --port ${PORT:-80}", "exec a :$PORT $(nproc) `x` ${PORT:+x}", "a && b"])
def test_a_script_reaches_its_shell_unchanged(script: str) -> None:
    check_program(f"/bin/sh -c '{script}'")
    assert by_systemd(["/bin/sh", "-c", script], {}) == ["/bin/sh", "-c", script]
