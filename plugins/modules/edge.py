#!/usr/bin/python
"""Ansible module: asks turnout-edge, the program that moves traffic on an edge."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: edge
short_description: Ask turnout-edge, the program that moves traffic on an edge
description:
  - Passes a command to C(turnout-edge) on the edge and returns its answer. All checks, locking, journalling and
    reading back are done by the program, for this module as for a person who types the command.
  - It does without Ansible's module library and runs the program in its own process, because a rollback is measured
    in tenths of a second. Every option is checked by the program.
options:
  command:
    description: What to do; see C(turnout-edge --help) on the edge.
    type: str
    required: true
    choices:
      - show
      - prepare
      - move
      - ready
      - confirm
      - commit
      - rollback
      - settle
      - forget
      - schema
      - apply
      - adopt
      - recover
      - journal
      - ledger
      - beat
      - lock_take
      - lock_beat
      - lock_release
      - lock_break
      - lease_arm
      - lease_renew
      - lease_disarm
  run: {description: "The run that asks: the holder of the lock.", type: str}
  actor: {description: Who asks; recorded. Default is the user on the edge., type: str}
  phase: {description: The run's phase; recorded., type: str}
  color: {description: "For prepare, adopt, ready, confirm and forget.", type: str, choices: [blue, green]}
  release:
    description:
      - "For prepare and adopt: C(release) (the version), C(complete) (a boolean: laid whole), C(schema) (C(min) and
        C(max), if known), and whatever else is to be remembered."
    type: dict
  share_bp: {description: "For move: the candidate's share in basis points, 0 to 10000.", type: int}
  expect_share:
    description: "For move: the share that the candidate must have before, in state and in HAProxy."
    type: int
  allow_down:
    description: "For move: servers that need not be up."
    type: list
    elements: str
  lease_s:
    description: "For move and lease_arm: arm the lease for so many seconds in the same call."
    type: float
  force: {description: "For rollback, adopt and recover: past its checks; needs O(reason).", type: bool}
  reason: {description: "For O(force), lock_break and forget; recorded.", type: str}
  further: {description: "For rollback: to the release before, although one went back already.", type: bool}
  put_back:
    description:
      - "For rollback: undo what O(run) itself did and nothing else; refused while another living run holds the lock."
    type: bool
  keep_confirmed:
    description:
      - "With O(put_back): let a release stand that O(run) has confirmed. What it has committed stands in any case."
    type: bool
  quarantine:
    description:
      - "For rollback: why the release that goes is bad. It is put in quarantine in the same step: deploying it again
        needs a person's word."
    type: str
  previous_restored:
    description: "For settle: the release that the candidate displaced is whole and warm again."
    type: bool
  version: {description: "For schema: the highest applied migration, 0 for none.", type: int}
  last_contract: {description: "For schema: the highest applied contract migration, 0 for none.", type: int}
  planned:
    description: "For schema, before migrations run: the highest migration once they are applied."
    type: int
  planned_contract: {description: "With O(planned): the highest contract migration then.", type: int}
  owner: {description: "For lock_take and rollback: who holds it, for people.", type: str}
  pid: {description: "For lock_take and rollback: the process on the controller.", type: int}
  purpose: {description: "For lock_take: what for.", type: str}
  ttl_s:
    description:
      - "For lock_take: seconds without a beat after which another run may take the lock."
      - "For lock_beat: the same, where it is longer than what O(run) has."
    type: float
  break_lock: {description: "For lock_take: also from a living holder.", type: bool}
  fence:
    description:
      - "For lock_take and lock_beat: the least fencing number that the lock is to have, also where O(run) holds it
        already: the number that it has on another edge. lock_beat gives it to the lock of O(run) only."
    type: int
  event: {description: "For journal: what is told.", type: str, choices: [start, end, intent, result, note]}
  action: {description: "For journal: of which action.", type: str}
  data: {description: "For journal and ledger: what else to record.", type: dict}
  tail: {description: "For show, journal and ledger: how many lines to return.", type: int}
attributes:
  check_mode: {description: Answers what would be done and refuses what would be refused., support: full}
  diff_mode: {description: Shows where traffic goes before and after., support: full}
author: [The Turnout authors (!UNKNOWN)]
"""

EXAMPLES = r"""
- name: Look
  turnout.ops.edge:
    command: show
  register: edge

- name: Give the candidate 5 % of the users
  turnout.ops.edge:
    command: move
    run: "{{ run_id }}"
    share_bp: 500
    expect_share: 0
    lease_s: 10

- name: Go back
  turnout.ops.edge:
    command: rollback
"""

RETURN = r"""
ok: {description: Whether the command was carried out., type: bool, returned: always}
message: {description: "What was done, for a person.", type: str, returned: success}
before: {description: "Where traffic went before: stable, previous, candidate, share_bp, green_bp.", type: dict,
  returned: for commands that change traffic}
after: {description: Where it goes now., type: dict, returned: for commands that change traffic}
recorded: {description: Whether something was written down; such commands change nothing else., type: bool,
  returned: "for journal, ledger, beat and the lock"}
fence: {description: "The fencing number of the lock: grown by each lock that is taken.", type: int,
  returned: for lock_take and rollback (for show it is C(lock.fence))}
rc: {description: "Exit code of the program: 0 done, 2 usage, 3 refused, 4 lock, 5 put back, 6 on disk only,
  7 in HAProxy only.", type: int, returned: always}
error: {description: "What went wrong: code, observed, expected, remedy.", type: dict, returned: failure}
"""

import json
import os
import re
import sys

LIBRARY = "/usr/local/lib/turnout-edge"
GIVEN = r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>"""  # Ansible puts the options here before it sends this file

COMMANDS = [
    "show",
    "prepare",
    "move",
    "ready",
    "confirm",
    "commit",
    "rollback",
    "settle",
    "forget",
    "schema",
    "apply",
    "adopt",
    "recover",
    "journal",
    "ledger",
    "beat",
    "lock_take",
    "lock_beat",
    "lock_release",
    "lock_break",
    "lease_arm",
    "lease_renew",
    "lease_disarm",
]
# What a run writes down about itself. It changes nothing that serves: a run that finds nothing to do changes nothing.
RECORDS = ["journal", "ledger", "beat", "lock_take", "lock_beat", "lock_release"]
FLAGS = ["force", "further", "put_back", "keep_confirmed", "previous_restored", "break_lock"]
JSON_VALUES = {"release": "--release", "data": "--json"}
VALUES = [
    "run",
    "actor",
    "phase",
    "color",
    "share_bp",
    "expect_share",
    "allow_down",
    "lease_s",
    "reason",
    "quarantine",
    "version",
    "last_contract",
    "planned",
    "planned_contract",
    "owner",
    "pid",
    "purpose",
    "ttl_s",
    "fence",
    "event",
    "action",
    "tail",
]
RENAMED = {"break_lock": "--break"}
# Who holds the lock of a rollback. Not by options: those of an older program would refuse to go back.
HOLDER = {"owner": "TURNOUT_LOCK_OWNER", "pid": "TURNOUT_LOCK_PID"}
# The program tells what to type on the edge. Who runs a playbook is told the playbook and its variable; what has none
# is typed on the edge. The first that fits counts.
AS_PLAYBOOK = (
    (
        'turnout-edge rollback --force --reason "..."',
        "ansible-playbook turnout.ops.rollback -e 'break_glass=\"your reason\"'",
    ),
    ("turnout-edge rollback --further", "ansible-playbook turnout.ops.rollback -e further=true"),
    ("turnout-edge rollback, then settle", "ansible-playbook turnout.ops.rollback"),
    ("turnout-edge rollback", "ansible-playbook turnout.ops.rollback"),
    ("turnout-edge show --human", "ansible-playbook turnout.ops.status"),
    ("or leave a host out: --allow-down NAME", "or take a host that is gone for good out of the inventory"),
)
MOVED_MEANWHILE = re.compile(r"turnout-edge (?:prepare|ready) --.*")
TAKEN_MEANWHILE = re.compile(r"turnout-edge lock take --.*")
ON_EDGE = re.compile(r"(?<!on this edge: )turnout-edge (?=(?:apply|adopt|recover|schema|journal|lock|settle|forget)\b)")


class OptionError(Exception):
    """The task's options make no sense; carries the message."""


def truth(name, value):
    """Return a boolean, also where a template made text of it."""
    word = str(value).lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise OptionError(f"{name} is {value!r}; expected: true or false; to mend: the task's {name}")


def words_for(options):
    """Return the command line for the task's options; raises OptionError."""
    command = options.get("command")
    if command not in COMMANDS:
        raise OptionError(
            f"command is {command!r}; expected: one of {', '.join(COMMANDS)}; to mend: the task's command"
        )
    unknown = sorted(set(options) - {"command", *FLAGS, *JSON_VALUES, *VALUES})
    if unknown:
        raise OptionError(f"unknown option {', '.join(unknown)}; expected: those of ansible-doc turnout.ops.edge")
    words = command.split("_", 1)
    for name, value in sorted(options.items()):
        flag = RENAMED.get(name) or "--" + name.replace("_", "-")
        if value is None or name == "command" or (command == "rollback" and name in HOLDER):
            continue
        if name in FLAGS:
            words += [flag] if truth(name, value) else []
        elif name in JSON_VALUES:
            words.append(f"{JSON_VALUES[name]}={value if isinstance(value, str) else json.dumps(value)}")
        else:
            words.append(f"{flag}={','.join(map(str, value)) if isinstance(value, list) else value}")
    return words


def tell_holder(options):
    """Leave word for the program of who goes back, and from which process."""
    for name, variable in HOLDER.items():
        if options["command"] == "rollback" and options.get(name):
            os.environ[variable] = str(options[name])


def ask(words):
    """Return exit code and answer of the program."""
    sys.path.insert(0, LIBRARY)
    try:
        from turnout_edge.cli import answer_to  # noqa: PLC0415 - found only by the path above
    except ImportError as fault:
        raise OptionError(
            f"turnout-edge is not installed here ({fault}); expected: {LIBRARY}/turnout_edge; "
            "to mend: apply the role edge (ansible-playbook turnout.ops.site --tags edge)"
        ) from fault
    code, answer, _ = answer_to(words)
    return code, answer


def for_playbook(text):
    """Return a text of the program for who runs a playbook."""
    for typed, played in AS_PLAYBOOK:
        text = text.replace(typed, played)
    text = MOVED_MEANWHILE.sub("look who moved it: ansible-playbook turnout.ops.status; then deploy again", text)
    text = TAKEN_MEANWHILE.sub("look who took it: ansible-playbook turnout.ops.status; then the same again", text)
    return ON_EDGE.sub("on this edge: turnout-edge ", text)


def result_of(code, answer, show_diff):
    """Return the task's result for the program's answer."""
    result = {**answer, "rc": code}
    if "message" in result:
        result["message"] = for_playbook(result["message"])
    if result.get("warnings"):
        result["warnings"] = [for_playbook(text) for text in result["warnings"]]
    error = answer.get("error")
    if error:
        error = {key: for_playbook(value) if isinstance(value, str) else value for key, value in error.items()}
        result["error"] = error
        result["failed"] = True
        result["msg"] = f"observed: {error['observed']}; expected: {error['expected']}; to mend: {error['remedy']}"
    if show_diff and "before" in answer and "after" in answer:
        result["diff"] = {
            side: "".join(f"{key}: {value}\n" for key, value in answer[side].items()) for side in ("before", "after")
        }
    return result


def main():
    """Read the options, ask, answer."""
    given = json.loads(GIVEN)
    options = {name: value for name, value in given.items() if not name.startswith("_ansible_")}
    try:
        words = words_for(options)
        tell_holder(options)
        if given.get("_ansible_check_mode"):
            words.append("--dry-run")
        result = result_of(*ask(words), given.get("_ansible_diff"))
        if options["command"] in RECORDS:
            result["recorded"], result["changed"] = result.get("changed", False) and "--dry-run" not in words, False
    except OptionError as fault:
        result = {"failed": True, "changed": False, "rc": 2, "msg": f"observed: {fault}"}
    print(json.dumps(result))
    sys.exit(1 if result.get("failed") else 0)


if __name__ == "__main__":
    main()
