#!/usr/bin/python
"""Run a release's own migrate command on this host, bounded in time, with its secrets kept out of sight."""

from __future__ import annotations

DOCUMENTATION = r"""
module: migrate
short_description: Run a release's migrate commands in a transient systemd unit
description:
  - Runs the commands inside the laid release, in a transient unit with a fixed name, so that systemd itself refuses a
    second migrator on this host and ends one that overruns.
  - They run as a user that runs nothing else, because whoever has the same user can read their environment in /proc.
  - While O(up_command) runs, O(progress) gets each line in which the tool tells of a migration, and at least every 30 s
    how long it takes already and what PostgreSQL is at.
  - The environment travels in a file that only root can read, and is gone afterwards; every value of it that
    appears in the output is replaced by the name of its key.
options:
  service: {description: Name of the service., type: str, required: true}
  user: {description: User that the command runs as., type: str, required: true}
  layout:
    description: How the release sees its files, as P(turnout.ops.layout#filter) says it.
    type: dict
    required: true
  group: {description: A further group of the command; empty for none., type: str, default: ""}
  version_command: {description: "Prints what is applied, as O(tool) does.", type: str, required: true}
  up_command: {description: Applies what is pending; left out to only read the version., type: str}
  environment_file_text: {description: Environment in systemd's EnvironmentFile syntax., type: str, required: true}
  timeout_s: {description: Seconds after which the command is ended., type: int, default: 300}
  progress: {description: File for what is told while O(up_command) runs; gone afterwards., type: path}
  tool:
    description: The migration tool; empty for a command that prints the last applied migration on one line.
    type: str
    default: ""
  tool_command: {description: How a person calls the tool., type: str, default: ""}
  listed:
    description: C(order) and C(migrations) of the release's manifest, in which the state is found.
    type: dict
    default: {order: number, migrations: []}
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: full, description: Reads the version and applies nothing.}
  diff_mode: {support: full, description: Shows the version before and after.}
"""

EXAMPLES = r"""
- name: Apply the pending migrations
  turnout.ops.migrate:
    service: sample
    user: sample-migrate
    layout: "{{ release_manifest | turnout.ops.layout('/opt/sample/releases/1.1.0-0123456789ab') }}"
    version_command: bin/migrate version
    up_command: bin/migrate up
    environment_file_text: "{{ text }}"
  no_log: true
"""

RETURN = r"""
before: {description: "Highest migration applied before; in a list without numbers, how many.", returned: always,
  type: int}
after: {description: The same after., returned: where the database could be asked, type: int}
pending: {description: Ids of the release's migrations that are not applied., returned: success, type: list,
  elements: str}
unlisted: {description: What the tool would apply and the release does not list., returned: success, type: list,
  elements: str}
message: {description: "A line for each migration that was applied, as the tool wrote it.", returned: when they were,
  type: str}
shown: {description: "Whether the lines of C(message) have been shown.", returned: with O(up_command), type: bool}
output: {description: "Last lines that the command printed, without secrets.", returned: always, type: str}
"""

import os
import pwd
import subprocess
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.turnout.ops.plugins.module_utils import migration_state, migration_watch
from ansible_collections.turnout.ops.plugins.module_utils.laid_release import environment_of, in_unit
from ansible_collections.turnout.ops.plugins.module_utils.slot_configuration import SET_BY_TURNOUT

RUN_DIR = "/run/turnout"
TAIL_LINES = 20
SHORTEST_SECRET = 4  # characters; replacing shorter values would garble the text and hide nothing
# As the service's own units have it.
HARDENING = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "LockPersonality": "yes",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX AF_NETLINK",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
}
GRACE_S = 15  # seconds that systemd may take to end a command that overran


# What PostgreSQL says when a bound of Turnout's own is reached (errors.h, ProcessInterrupts), and the way out.
BOUNDS = {
    "canceling statement due to statement timeout": "raise migrate_statement_timeout_s (group_vars/all, or -e) for a "
    "statement that takes so long",
    "canceling statement due to lock timeout": "end what holds the lock (see pg_stat_activity), or raise "
    "migrate_lock_timeout_s (group_vars/all, or -e)",
}


class MigrateError(Exception):
    """The migrate command did not do its work; carries the message for a person."""

    def __init__(self, message, remedy=""):
        super().__init__(message)
        self.remedy = remedy  # what mends it before all else


def secrets_of(environment):
    """Return [(value, name)] to be hidden, longest first; a password inside a URL counts by itself."""
    found = {}
    for key, value in environment.items():
        if key in SET_BY_TURNOUT:
            continue
        for part in (value, *value.splitlines()):  # output may be looked at line by line
            if len(part) >= SHORTEST_SECRET:
                found[part] = key
        authority = value.partition("://")[2].partition("/")[0]
        password = authority.rpartition("@")[0].partition(":")[2]
        if len(password) >= SHORTEST_SECRET:
            found[password] = f"{key}'s password"
    return sorted(found.items(), key=lambda pair: -len(pair[0]))


def redact(text, secrets):
    """Return `text` with each secret replaced by its name."""
    for value, name in secrets:
        text = text.replace(value, f"[{name}]")
    return text


def check_user(user):
    """Raise MigrateError unless this host has the user."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        raise MigrateError(
            f"this host has no user {user}; expected: the user that migrations run as (service.migrate.user); to mend: "
            "ansible-playbook turnout.ops.site --tags service_host"
        ) from None


def run_unit(params, command, environment_file, timeout_s, watch=None):
    """Run one command in the transient unit; return (exit code, standard output, standard error).

    `watch` tells what it says meanwhile.
    """
    unit = f"turnout-migrate-{params['service']}"
    properties = {
        "User": params["user"],
        "EnvironmentFile": environment_file,
        "RuntimeMaxSec": str(timeout_s),
        "TimeoutStopSec": "5",
        **({"SupplementaryGroups": params["group"]} if params.get("group") else {}),
        **HARDENING,
    }
    layout = params["layout"]
    limit_s = timeout_s + GRACE_S
    try:
        if watch:
            # Python keeps back what it writes to a pipe; the file's own value comes after this one.
            layout = {**layout, "environment": {"PYTHONUNBUFFERED": "1", **layout["environment"]}}
            return migration_watch.run(in_unit(unit, command, layout, properties), limit_s, watch.hear, watch.quiet)
        argv = in_unit(unit, command, layout, properties)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        subprocess.run(["systemctl", "kill", "--signal=SIGKILL", f"{unit}.service"], check=False)
        return 124, "", f"it did not end within {timeout_s} s"
    return done.returncode, done.stdout, done.stderr


def read_state(params, environment_file, secrets):
    """Return what is applied, as the tool tells it, and where that is in the release's list. Raises MigrateError."""
    code, out, err = run_unit(params, params["version_command"], environment_file, min(params["timeout_s"], 60))
    try:
        seen = migration_state.read(params["tool"], code, out, err)
        return seen, migration_state.place(seen, params["listed"])
    except migration_state.StateError as error:
        what = f"what {params['tool']} prints" if params["tool"] else "one line, the last applied migration"
        raise MigrateError(
            f"`{params['version_command']}` {redact(str(error), secrets)}; expected code 0 and {what}, which the "
            "release lists; to mend: the database's address, service.migrate.version and tool, or the folder of "
            "migrations that the release was built with (turnout release build --migrations)"
        ) from None


def check_clean(params, seen, placed):
    """Raise MigrateError where an earlier migration failed half way."""
    if seen.get("dirty"):
        raise MigrateError(
            f"the database is {placed['words']}: that migration failed half way before; expected: none that did; "
            f"to mend: {migration_state.way_out(params, seen)}"
        )


def apply_pending(params, environment_file, secrets):
    """Run the up command; return its redacted last lines and a line a migration. Raises MigrateError, its first error
    first.
    """
    limit_s, command, began = params["timeout_s"], params["up_command"], time.monotonic()
    asks = migration_watch.asks(environment_of(params["environment_file_text"]), params["user"])
    watch = migration_watch.Watch(params["progress"], lambda text: redact(text, secrets), limit_s, asks)
    try:
        code, out, err = run_unit(params, command, environment_file, limit_s, watch)
    finally:
        watch.close()
    spent_s = time.monotonic() - began
    said = redact((out + err).strip(), secrets)
    output = "\n".join(said.splitlines()[-TAIL_LINES:])
    if code and spent_s >= limit_s:
        still = migration_watch.statement(asks, spent_s)
        raise MigrateError(
            f"`{command}` was ended after {limit_s} s, before it was done; expected: that it ends within "
            f"{limit_s} s (service.migrate.timeout_s); its last lines:\n{output or 'none'}"
            + (f"\n{still}, also without the command: what that does may still come" if still else ""),
            "raise service.migrate.timeout_s",
        )
    if code:
        first = migration_state.first_error(redact(err, secrets) or said)
        raise MigrateError(
            f"{first}\n`{command}` ended with code {code}; expected: code 0 within {limit_s} s "
            f"(service.migrate.timeout_s); its last lines:\n{output}",
            next((remedy for words, remedy in BOUNDS.items() if words in said), ""),
        )
    return {"output": output, "message": "\n".join(migration_state.progress(said))}


def failed_half_way(module, error, result, environment_file, secrets):
    """Fail with the first error, then what the database has now, then the way out."""
    params = module.params
    try:
        seen, placed = read_state(params, environment_file, secrets)
        result["after"] = placed["version"]
        now = f"the database is {placed['words']} now"
    except MigrateError as unread:
        seen, now = {}, f"what the database has now is not known: {unread}"
    way_out = "; ".join(filter(None, (error.remedy, migration_state.way_out(params, seen))))
    changed = result.get("after", result["before"]) != result["before"]
    module.fail_json(msg=f"{error}\n{now}\nto mend: {way_out}", changed=changed, **result)


def migrate(module, environment_file):
    """Read the state, apply what is pending, read it again; return the result."""
    params = module.params
    check_user(params["user"])
    secrets = secrets_of(environment_of(params["environment_file_text"]))
    seen, placed = read_state(params, environment_file, secrets)
    check_clean(params, seen, placed)
    result = {"before": placed["version"], "output": ""}
    if params["up_command"] and not module.check_mode:
        try:
            result |= apply_pending(params, environment_file, secrets)
        except MigrateError as error:
            failed_half_way(module, error, result, environment_file, secrets)
        _, placed = read_state(params, environment_file, secrets)
    return {**result, "after": placed["version"], "pending": placed["pending"], "unlisted": placed["unlisted"]}


def main():
    """Write the environment where only root reads it, migrate, and remove it."""
    module = AnsibleModule(
        argument_spec={
            "service": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "layout": {"type": "dict", "required": True},
            "group": {"type": "str", "default": ""},
            "version_command": {"type": "str", "required": True},
            "up_command": {"type": "str"},
            "environment_file_text": {"type": "str", "required": True, "no_log": True},
            "timeout_s": {"type": "int", "default": 300},
            "progress": {"type": "path"},
            "tool": {"type": "str", "default": ""},
            "tool_command": {"type": "str", "default": ""},
            "listed": {"type": "dict", "default": {"order": "number", "migrations": []}},
        },
        supports_check_mode=True,
    )
    os.makedirs(RUN_DIR, mode=0o755, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=RUN_DIR, prefix="migrate-", suffix=".env") as env_file:
        env_file.write(module.params["environment_file_text"])
        env_file.flush()
        try:
            result = migrate(module, env_file.name)
        except MigrateError as error:
            module.fail_json(msg=str(error))
    changed = result["after"] != result["before"]
    diff = {"before": f"schema version {result['before']}\n", "after": f"schema version {result['after']}\n"}
    module.exit_json(changed=changed, diff=diff, **result)


if __name__ == "__main__":
    main()
