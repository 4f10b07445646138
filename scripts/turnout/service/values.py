"""The kinds of value that a service file has: what may stand there, and what a person is told otherwise."""

from __future__ import annotations

import re
import signal as signals
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, replace
from typing import Any

from turnout.faults import kind_of, nearest, shown
from turnout.keys import At, Key, Wrong, key
from turnout.service import commands
from turnout.service.environment import KEY, RESERVED, value_fault
from turnout.service.environment_file import SYNTAXES

COLORS = ("blue", "green")
DAY_S = 86_400
NAME = r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?"
KINDS = frozenset({"api", "web", "worker", "scheduler", "timer"})
"""Kinds of process. No word of a process's name is one: `shop-worker-api@blue` would be two services' unit."""
ENDPOINT = r"https?://[^@\s?#]+"
HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,80}"  # a header's or cookie's name, RFC 9110

_SIGNALS = sorted(s.name for s in signals.Signals if s.name not in ("SIGKILL", "SIGSTOP"))
_REALTIME = r"SIGRTMIN(\+([1-9]|[12]\d|30))?"

GIVEN_VARIABLES = frozenset(
    [
        *("CACHE_DIRECTORY", "CONFIGURATION_DIRECTORY", "CREDENTIALS_DIRECTORY", "HOME", "INVOCATION_ID", "LANG"),
        *("LOGNAME", "LOGS_DIRECTORY", "MAINPID", "PATH", "RUNTIME_DIRECTORY", "SHELL", "STATE_DIRECTORY", "USER"),
    ]
)
"""Variables that systemd or the login sets; a command may use them without declaring them."""
# A command line is visible to every user of a host, so what is called like this must not be put into one.
_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY|DSN|DATABASE_URL|REDIS_URL"
)


def secret_name(name: str) -> bool:
    """Tell whether a variable is a secret by its name."""
    return bool(_SECRET_NAME.search(name.upper()))


def process_name(name: str) -> str:
    """Return the name of a process within its kind; raises Wrong where it is none."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > 31 or KINDS & set(name.split("-")):
        raise Wrong(
            shown(name),
            f"1 to 31 lower-case letters, digits and inner hyphens, a letter first, and no word that is one of "
            f"{', '.join(sorted(KINDS))}: systemd's units are named after it",
            "rename it, to e.g. mails",
        )
    return name


class Environment(Mapping[str, str]):
    """Environment variables. Its `repr` shows the names only: every value counts as a secret."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        """Return the names, never the values."""
        return f"Environment({', '.join(sorted(self._values))})"

    def plain(self, *, secrets: bool) -> dict[str, str] | list[str]:
        """Return the variables, or only their names."""
        return dict(self._values) if secrets else sorted(self._values)


def port(example: str) -> Any:
    """Return the key of a port."""
    return key("1024 or above", low=1024, high=65535, unit="port", example=example)


def file(means: str, example: str, default: Any = None, expected: str = "the path of a file") -> Any:
    """Return the key of a file or folder."""
    return key(means, default, example=example, expected=expected)


def user(means: str, by_default: str, example: str, **options: Any) -> Any:
    """Return the key of a system user."""
    options |= {"expected": "the name of a system user", "example": example, "by_default": by_default}
    return key(means, "", pattern="[a-z_][a-z0-9_-]{0,30}", **options)


def url_path(means: str, default: Any = MISSING, example: str = "/api/health/", **options: Any) -> Any:
    """Return the key of a path in a URL."""
    expected = "a path that begins with / and has no blank"
    return key(means, default, pattern=r"/[^\s]*", expected=expected, example=example, **options)


def status(means: str, **options: Any) -> Any:
    """Return the key of an HTTP status."""
    return key(means, 200, low=100, high=599, unit="HTTP status", **options)


def seconds(means: str, default: Any, low: float = 0, high: float = DAY_S, **options: Any) -> Any:
    """Return the key of a time."""
    return key(means, default, low=low, high=high, unit="seconds", **options)


def header(means: str, expected: str, example: str) -> Any:
    """Return the key of a header's or a cookie's name."""
    return key(means, None, pattern=HEADER_NAME, expected=expected, example=example)


def vault(means: str) -> Any:
    """Return the key of a secret."""
    expected = "a text, best from Ansible Vault"
    return key(f"{means}, best from Ansible Vault", None, expected=expected, example='"{{ vault_... }}"', secret=True)


# Commands and signals ---------------------------------------------------------------------------------------------


def command(example: str, means: str, default: Any = MISSING, **options: Any) -> Any:
    """Return the key of a command line."""
    expected = "a command in systemd's ExecStart syntax"
    pattern = r"[\s\S]*\S[\s\S]*"
    return key(means, default, pattern=pattern, expected=expected, example=f'"{example}"', check=_command, **options)


def _command(text: str | None) -> str | None:
    if text is None:
        return None
    if "\n" in text.strip("\n"):
        raise Wrong("a text of several lines", "a command in systemd's ExecStart syntax, on one line")
    text = text.strip()
    try:
        commands.check_program(text)
    except commands.CommandError as error:
        raise Wrong(str(error), remedy=error.remedy) from None
    strange = [letter for letter in commands.specifiers(text) if not letter.isalpha()]
    if strange:
        remedy = f"write %% where the program is to get one %: ... %%{strange[0]}"
        raise Wrong(f"%{strange[0]}, which systemd cannot resolve", "%% or a specifier of systemd", remedy)
    return text


def unset_variables(where: str, text: str, known: set[str]) -> Iterator[At]:
    """Yield what is wrong with the variables of a command."""
    for name in commands.variables(text):
        if name not in known:
            likely = nearest(name, known)
            remedy = f"write ${{{likely}}}" if likely else f"add {name} to service.environment"
            yield At(where, f"${{{name}}}, which nobody sets", "variables that are set", f"{remedy}; $$ is one $")
        elif secret_name(name):
            yield At(
                where,
                f"${{{name}}}, by its name a secret, on a command line, which every user of the host can read",
                "secrets in the environment only",
                f"let the program read {name} from its environment",
            )


def signal(means: str, default: str | None = None, **options: Any) -> Any:
    """Return the key of a signal."""
    expected = "the name of a signal that a process can catch, such as SIGTERM or SIGUSR1"
    pattern = f"^(?:{'|'.join(_SIGNALS)}|{_REALTIME})$"
    json = {"type": "string", "pattern": pattern}
    return key(means, default, expected=expected, read=_signal, json=json, **options)


def _signal(value: Any) -> str:
    if isinstance(value, str) and (value in _SIGNALS or re.fullmatch(_REALTIME, value)):
        return value
    likely = nearest(f"SIG{value.upper().removeprefix('SIG')}", _SIGNALS) if isinstance(value, str) else None
    raise Wrong(shown(value), example=likely or "SIGTERM")


# Variables and headers --------------------------------------------------------------------------------------------


def set_by_turnout(name: str, path: str) -> tuple[str, str, str]:
    """Return what is told of a variable that Turnout sets itself."""
    return "a variable that Turnout sets itself", "another name", f"remove {name} from {path}"


def _not_reserved(name: str) -> str:
    if name in RESERVED:
        raise Wrong(*set_by_turnout(name, "service.migrate.environment"))
    return name


def _variable(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(kind_of(value), remedy='write "" for an empty value' if value is None else _IN_QUOTES)
    fault = value_fault(value)
    if fault is not None:
        remedy = "encode it (base64, or \\n written as two characters) and decode it in the program"
        raise Wrong(fault, "a text of one line", remedy)
    return value


def _header(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(kind_of(value), "a text", _IN_QUOTES)
    if not value.isprintable():
        raise Wrong("a text with line ends or control characters", "a text of one line", "remove them")
    return value


# YAML has changed it before anybody could look: 012345 is 5349, 22:30 is 1350, 1.10 is 1.1 and NO is false.
_IN_QUOTES = "write it in quotes, also where a template takes it from: YAML reads other values than are written"

_NAME_OF = Key(
    pattern=KEY.pattern,
    observed="a name that is no variable of systemd and Turnout",
    expected="letters, digits and _, no digit first",
    remedy="rename it, e.g. DATABASE_URL",
)
_VALUE = Key(expected="a text", read=_variable, hidden=True, json={"type": "string"})
_HEADER_NAME = Key(
    pattern=HEADER_NAME, observed="a name that no header can have", expected="a header's name", remedy="rename it"
)
_HEADER = Key(expected="a text", read=_header, hidden=True, json={"type": "string"})


def variables(means: str, *, reserved: bool = True, **options: Any) -> Any:
    """Return the key of variables; without `reserved` those that Turnout sets are refused by their names."""
    names = _NAME_OF if reserved else replace(_NAME_OF, check=_not_reserved)
    return key(means, Environment, names=names, item=_VALUE, read=Environment, example="{KEY: value}", **options)


def environment_file(means: str) -> Any:
    """Return the key of an environment file; `turnout.service.load` reads it into the variables, which are released."""
    expected = "the path of a file, or what it holds"
    return key(means, None, expected=expected, example=".env", secret=True, released=False)


def environment_syntax() -> Any:
    """Return the key of an environment file's syntax."""
    means = "who reads that file so far: `compose`, `docker` (`--env-file`) or `systemd` (`EnvironmentFile=`)"
    by_default = "all three must read the same"
    return key(means, None, choices=SYNTAXES, by_default=by_default, example="compose", released=False)


def headers(**options: Any) -> Any:
    """Return the key of headers."""
    options |= {"names": _HEADER_NAME, "item": _HEADER, "read": Environment, "example": "{Accept: text/html}"}
    return key("headers that are sent along; values are secrets", Environment, **options)


# Where releases come from -----------------------------------------------------------------------------------------


def checked_source(source: str) -> str:
    """Return the place that releases come from. Raises `Wrong`, which never holds more of it than the scheme."""
    if source.startswith("/"):
        return source
    try:
        url = urllib.parse.urlsplit(source)
    except ValueError:
        raise Wrong("an address that cannot be read") from None
    if url.scheme not in ("s3", "http", "https"):
        raise Wrong(f"the scheme {url.scheme}://" if "://" in source else "a text that begins with no / and no scheme")
    if "@" in url.netloc:
        raise Wrong(
            "an address with a user or password in it", remedy="put them into releases.s3 or releases.http.headers"
        )
    if not url.netloc:
        raise Wrong(f"a {url.scheme} address without a bucket or host")
    if url.query or url.fragment:
        raise Wrong("an address with ? or #", remedy="remove what follows the path")
    return source


def source() -> Any:
    """Return the key of the place that releases come from."""
    return key(
        "a folder on the controller, `https://…` or `s3://bucket/prefix`",
        expected="s3://bucket/prefix, https://host/path, or an absolute folder",
        example="s3://releases/shop",
        check=checked_source,
    )
