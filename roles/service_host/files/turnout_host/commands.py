"""Commands that a person runs in a color (`turnout run`): begun, listed, stopped, and what is kept of them.

A command is a transient unit `SERVICE-run@COLOR-ID.service` with the environment, the user and the isolation of the
API's unit, which is read here, so that both have one source. A second unit, `SERVICE-run-watch@COLOR-ID.service`, keeps
its output and is bound to it (`watched`). A color in which one runs is not replaced (`in_color`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time

from turnout_host import atomic, said
from turnout_host.fence import STATE_DIR, Lock

PROGRAM = "/usr/local/sbin/turnout-run"
RUNTIME_DIR = "turnout-run"  # a folder for each command, which systemd removes with its watch
RUN = f"/run/{RUNTIME_DIR}"
KEPT = 50  # commands of a service whose output is kept on a host
GRACE_S = 10  # between SIGTERM and SIGKILL
STOP_LIMIT_S = GRACE_S + 20
OUTPUT_LIMIT = 8 * 1024 * 1024  # bytes of a command's output that are kept
TIMED_OUT = 124  # exit code, as timeout(1)'s
NEVER_RAN = 203  # systemd's exit code for a program that could not be executed
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")

# What a unit says of its process's life, not of what the process sees and may. The API's own runtime folder would be
# removed at the command's end.
_LIFE = re.compile(
    r"Exec(Start|Stop|Reload|Condition).*|Type|NotifyAccess|Restart.*|Kill.*|Timeout.*|Watchdog.*|RuntimeMaxSec"
    r"|SyslogIdentifier|Standard.*|X-.*|SuccessExitStatus|RemainAfterExit|PIDFile|Sockets|Send.*|FinalKillSignal"
    r"|RuntimeDirectory.*|TTY.*"
)
_SPECIFIER = re.compile(r"%(.?)")
_SECRET_NAME = re.compile(r"pass(word|wd|phrase)?|secret|token|credential|api.?key|private.?key", re.IGNORECASE)

Record = dict[str, object]


class CommandError(Exception):
    """A refused command: what was seen, what was expected, what mends it."""

    def __init__(self, code: str, observed: str, expected: str, remedy: str) -> None:
        super().__init__(observed)
        self.fields = {"code": code, "observed": observed, "expected": expected, "remedy": remedy}


# What the command is like -----------------------------------------------------------------------------------------


def isolation(text: str, names: dict[str, str]) -> list[tuple[str, str]]:
    """Return [(directive, value)] of the API's unit that say what a process sees and may.

    `text` is what `systemctl cat` prints of it, `names` its specifiers by letter. Raises CommandError for one that is
    not known here: what it means must not be guessed.
    """
    found: list[tuple[str, str]] = []
    section = ""
    for line in map(str.strip, re.sub(r"\\\n", " ", text).splitlines()):
        if line.startswith("["):
            section = line
        key, equals, value = (part.strip() for part in line.partition("="))
        if section != "[Service]" or not equals or line[0] in "#;" or _LIFE.fullmatch(key):
            continue
        if not value:
            found = [pair for pair in found if pair[0] != key]
        if value or key == "CapabilityBoundingSet":
            found.append((key, _specified(key, value, names)))
    return found


def _specified(key: str, value: str, names: dict[str, str]) -> str:
    try:
        return _SPECIFIER.sub(lambda one: names[one[1]], value)
    except KeyError:
        raise CommandError(
            "run-specifier",
            f"{key}= of the API's unit has a specifier that is not known here",
            "specifiers of the unit's name and of folders (%i, %S, %t ...)",
            "write the value itself in service_host_unit_overrides, then ansible-playbook turnout.ops.site",
        ) from None


def unit_isolation(service: str, color: str) -> list[tuple[str, str]]:
    """Return what `isolation` does, of the API of a color on this host. Raises CommandError."""
    unit = f"{service}-api@{color}.service"
    done = subprocess.run(
        ["systemctl", "cat", "--no-pager", unit], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode:
        raise CommandError(
            "run-unit",
            f"systemctl cat {unit}: {done.stderr.strip()[:200]}",
            "the API's unit, whose isolation the command gets",
            "ansible-playbook turnout.ops.site --tags service_host, then deploy",
        )
    stem = unit.removesuffix(".service")
    names = {
        **{"%": "%", "i": color, "I": color, "n": unit, "N": stem, "p": stem.partition("@")[0], "H": os.uname()[1]},
        **{"S": "/var/lib", "C": "/var/cache", "L": "/var/log", "E": "/etc", "t": "/run"},
    }  # fmt: skip
    return isolation(done.stdout, names)


def program_of(word: str, properties: list[tuple[str, str]], search: str, root: str = "/") -> str:
    """Return the program's path as the command sees it. Raises CommandError where it is not there.

    One with a slash that does not begin with one is looked for in the release, one without in `search` (a PATH).
    """
    last = dict(properties)
    seen_root = os.path.join(root, last.get("RootDirectory", "").lstrip("/"))
    folder = last.get("WorkingDirectory", "/").lstrip("-")
    if "/" in word:
        places = [os.path.join(folder, word)]
    else:
        places = [os.path.join(place, word) for place in search.split(":") if place.startswith("/")]
    for place in places:
        path = os.path.join(seen_root, place.lstrip("/"))
        # A link inside an image is not followed: it leads to a place of the image, not of this host.
        inside = "RootDirectory" in last and os.path.islink(path)
        if inside or (os.path.isfile(path) and os.access(path, os.X_OK)):
            return place
    there = [place for place in places if os.path.lexists(os.path.join(seen_root, place.lstrip("/")))]
    raise CommandError(
        "run-program",
        f"{there[0]} cannot be executed" if there else f"there is no {', no '.join(places)}",
        "a program of the release (bin/manage), or one of this host or image by its name or path",
        f"name one that is there: turnout run -- bin/manage; see: ls {os.path.join(seen_root, folder.lstrip('/'))}",
    )


def shown_words(words: list[str], secrets: list[tuple[str, str]]) -> list[str]:
    """Return a command's words as they may be seen: without values of the environment, or behind a secret's name."""
    shown: list[str] = []
    for before, word in zip(["", *words], words):  # noqa: B905 - the word before each
        name, equals, _ = word.partition("=")
        named = before.startswith("-") and "=" not in before and _SECRET_NAME.search(before)
        if equals and _SECRET_NAME.search(name):
            shown.append(f"{name}=[hidden]")
        elif named and not word.startswith("-"):
            shown.append("[hidden]")
        else:
            shown.append(re.sub(r"(://[^/\s:@]*):[^/\s@]+@", r"\1:[hidden]@", said.redact(word, secrets)))
    return shown


def exit_code(code: str, status: str) -> int:
    """Return a command's exit code from what systemd says of its end (systemd.exec(5), "$EXIT_CODE")."""
    if code == "exited":
        return int(status) if status.isdigit() else 1
    try:
        return 128 + signal.Signals[f"SIG{status}"].value
    except KeyError:
        return 1


# What is kept -----------------------------------------------------------------------------------------------------


def folder_of(service: str, ident: str, root: str = "/") -> str:
    """Return where a command's record and output are kept."""
    return os.path.join(root, STATE_DIR, service, "commands", ident)


def write(folder: str, name: str, record: Record) -> None:
    """Write one of a command's files."""
    atomic.replace(os.path.join(folder, name), json.dumps({"format": atomic.FORMAT, **record}).encode() + b"\n", 0o600)


def read(service: str, ident: str, root: str = "/") -> Record:
    """Return what is on record of a command: how it was begun, and how it ended. Raises CommandError."""
    record: Record = {}
    for name in ("record.json", "ended.json", "seen.json"):
        with (
            contextlib.suppress(OSError, ValueError),
            open(os.path.join(folder_of(service, ident, root), name)) as file,
        ):
            record |= json.load(file)
    if not ID.fullmatch(ident) or "id" not in record:
        raise CommandError(
            "run-unknown",
            f"no command {ident} of {service} is on record on this host",
            f"the id of one of the last {KEPT} commands here",
            f"see: ls {os.path.dirname(folder_of(service, ident, root))}",
        )
    return record


def output_of(service: str, ident: str, root: str = "/") -> str:
    """Return what was kept of a command's output."""
    try:
        with open(os.path.join(folder_of(service, ident, root), "output"), "rb") as file:
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def forget_old(service: str, root: str = "/") -> None:
    """Remove what was kept of all but the last commands."""
    home = os.path.dirname(folder_of(service, "x", root))
    with contextlib.suppress(FileNotFoundError):
        for ident in sorted(filter(ID.fullmatch, os.listdir(home)))[: -KEPT or None]:
            shutil.rmtree(os.path.join(home, ident), ignore_errors=True)


# Which run --------------------------------------------------------------------------------------------------------


def unit_of(service: str, color: str, ident: str) -> str:
    """Return the unit of a command."""
    return f"{service}-run@{color}-{ident}.service"


def watch_of(service: str, color: str, ident: str) -> str:
    """Return the unit that keeps a command's output."""
    return f"{service}-run-watch@{color}-{ident}.service"


def running(service: str, color: str = "*") -> list[str]:
    """Return the ids of the commands that run, of a color or of both; none where there is no systemd."""
    patterns = [each(service, color, "*") for each in (unit_of, watch_of)]
    try:
        done = subprocess.run(
            ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--full", "--no-pager",
             "--state=active,activating,deactivating,reloading", *patterns],
            capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
    except FileNotFoundError:
        return []
    return sorted(set(re.findall(rf"@(?:blue|green)-({ID.pattern})\.service", done.stdout)))


def in_color(service: str, color: str = "*", root: str = "/") -> list[Record]:
    """Return the records of the commands that run, of a color or of both."""
    found = []
    any_kept = os.path.isdir(os.path.dirname(folder_of(service, "x", root)))
    for ident in running(service, color) if any_kept else ():
        with contextlib.suppress(CommandError):
            found.append(read(service, ident, root))
    return found


def told(record: Record) -> str:
    """Return a command in a line."""
    words = record.get("shown")
    words = " ".join(map(str, words)) if isinstance(words, list) else "?"
    return f"{record.get('id')} in {record.get('color')}, by {record.get('actor')}: {words[:120]}"


def stop(service: str, color: str, ident: str) -> None:
    """End a command by SIGTERM, after `GRACE_S` by SIGKILL; waits for its end."""
    units = [unit_of(service, color, ident), watch_of(service, color, ident)]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(["systemctl", "stop", *units], capture_output=True, check=False, timeout=STOP_LIMIT_S)


def stop_color(service: str, color: str) -> list[str]:
    """End all commands of a color; return their ids."""
    found = running(service, color)
    for ident in found:
        stop(service, color, ident)
    return found


# Begun ------------------------------------------------------------------------------------------------------------


def begin(request: Record, root: str = "/", held: contextlib.AbstractContextManager[None] | None = None) -> Record:
    """Begin a command; return its record. Raises CommandError, FenceError or OSError, before anything was begun.

    `request` has service, color, release_id, id, words, actor, terminal (None, or term, rows, columns), timeout_s,
    detach, and client_uid, who may attach to it; with expands its words are those of ExecStart=, with ${VARIABLES}. One
    that is not detached begins when its client has come. `held` is what a run of its own holds in place of the lock.
    """
    service, color, ident = str(request["service"]), str(request["color"]), str(request["id"])
    words = [str(word) for word in request["words"]]  # type: ignore[attr-defined]
    with held or Lock(service, root):
        stands = os.path.basename(os.readlink(os.path.join(root, "opt", service, color)))
        if stands != request["release_id"]:
            raise CommandError(
                "run-slot",
                f"{stands} stands in {color} on this host",
                f"{request['release_id']}, which the edges say is in service",
                "ansible-playbook turnout.ops.status, then deploy that release again, which lays it anew",
            )
        properties = unit_isolation(service, color)
        search = _path_of(service, color, properties, root)
        program = program_of(words[0], properties, search, root)
        secrets = said.values_of(service, color, root) or []
        record = {
            **{key: request[key] for key in ("id", "color", "release_id", "actor", "timeout_s", "detach", "terminal")},
            "service": service,
            "client_uid": request["client_uid"],
            "shown": shown_words(words, secrets),
            "begun_at": time.time(),
        }
        folder = folder_of(service, ident, root)
        forget_old(service, root)
        os.makedirs(folder, mode=0o700)
        write(folder, "record.json", record)
        # The words themselves are kept nowhere: the watch gets them by its standard input.
        given = {
            **record,
            "argv": command_argv(record, [program, *words[1:]], properties, literal=not request.get("expands")),
        }
        try:
            _start_watch(given)
        except CommandError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return record


def _path_of(service: str, color: str, properties: list[tuple[str, str]], root: str) -> str:
    """Return the PATH that the color's environment sets, else systemd's own."""
    found = ""
    for key, value in properties:
        if key == "Environment" and (one := re.search(r'(?:^|[\s"])PATH=([^"\s]*)', value)):
            found = one[1]
    with contextlib.suppress(OSError), open(os.path.join(root, "etc", service, f"{color}.env")) as file:
        if one := re.search(r'^PATH="?([^"\n]*)', file.read(), re.MULTILINE):
            found = one[1]
    return found or DEFAULT_PATH


def command_argv(
    record: Record, words: list[str], properties: list[tuple[str, str]], *, literal: bool = True
) -> list[str]:
    """Return the words of systemd-run that begin a command; the watch adds where its terminal is.

    systemd replaces variables in words, but for those that are `literal`.
    """
    service, color, ident = str(record["service"]), str(record["color"]), str(record["id"])
    watch = watch_of(service, color, ident)
    own = [
        ("Description", f"A command of turnout run in {color} of {service}"),
        ("BindsTo", watch),
        ("After", watch),
        ("RuntimeMaxSec", str(record["timeout_s"])),
        ("TimeoutStopSec", str(GRACE_S)),
        ("KillMode", "control-group"),
        ("SendSIGHUP", "yes" if record["terminal"] else "no"),  # a shell at a terminal does not heed SIGTERM
        ("ExecStopPost", f"+{PROGRAM} ended {service} {ident}"),
        ("SyslogIdentifier", f"{service}-run-{color}"),
    ]
    terminal = record["terminal"]
    return [
        "systemd-run", "--quiet", "--wait", "--collect", "--service-type=exec",
        f"--unit={unit_of(service, color, ident)}",
        *(f"--property={key}={value}" for key, value in (*properties, *own)),
        *([f"--setenv=TERM={terminal['term']}"] if isinstance(terminal, dict) else ["--pipe"]),
        "--", words[0],
        *(word.replace("$", "$$") if literal else word for word in words[1:]),
    ]  # fmt: skip


def _start_watch(given: Record) -> None:
    service, color, ident = str(given["service"]), str(given["color"]), str(given["id"])
    unit = watch_of(service, color, ident)
    # A folder that systemd removes with the unit holds the socket; the words are handed over in it and read at once.
    handed = f"{RUN}/.{ident}.json"
    os.makedirs(os.path.dirname(handed), exist_ok=True)
    os.chmod(os.path.dirname(handed), 0o755)  # noqa: S103 - whatever this process's umask is: clients are no root
    atomic.replace(handed, json.dumps(given).encode(), 0o600)
    done = subprocess.run(
        ["systemd-run", "--quiet", "--collect", "--service-type=notify", f"--unit={unit}",
         f"--property=Description=Keeps the output of command {ident} of {service}",
         f"--property=RuntimeDirectory={RUNTIME_DIR}/{ident}", "--property=RuntimeDirectoryMode=0755",
         "--property=NotifyAccess=main", "--property=TimeoutStartSec=20", "--property=KillMode=mixed",
         f"--property=TimeoutStopSec={STOP_LIMIT_S}", "--property=MemoryMax=256M", "--property=UMask=0077",
         PROGRAM, "watch", handed],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    with contextlib.suppress(FileNotFoundError):
        os.unlink(handed)
    if done.returncode:
        raise CommandError(
            "run-watch",
            f"{unit} did not start: {done.stderr.strip()[:200]}",
            "a unit that keeps the command's output",
            f"see: journalctl -u {unit}",
        )


def ended(service: str, ident: str, environment: dict[str, str]) -> None:
    """Put on record how a command ended: called by its unit (ExecStopPost=), whatever became of its watch."""
    result, code, status = (environment.get(name, "") for name in ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"))
    began = read(service, ident)
    record: Record = {"rc": exit_code(code, status), "result": result, "ended_at": time.time()}
    if result == "timeout":  # of a stop that took too long, or of the command's own limit
        over = time.time() >= float(str(began["begun_at"])) + float(str(began["timeout_s"]))
        record |= {"rc": TIMED_OUT} if over else {"result": "signal"}
    write(folder_of(service, ident), "ended.json", record)
