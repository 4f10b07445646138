"""A host that nobody gets into: SSH, sudo or Python in the way. The run begins nothing, and names what mends it.

SSH is a script that says what OpenSSH says, or runs the command on this machine; sudo is one that says what sudo says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from turnout import contact

ROOT = Path(__file__).resolve().parents[3]
BEGIN = """
- name: Deploy | 1/1 | take the lock
  hosts: edge:api
  become: true
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - ansible.builtin.import_role: {name: turnout.ops.run, tasks_from: begin}
      vars:
        run_id: "{{ lookup('ansible.builtin.env', 'TURNOUT_RUN') }}"
        run_folder: "{{ lookup('ansible.builtin.env', 'TURNOUT_RUN_FOLDER') }}"
        run_actor: ann
        run_owner: ann@laptop
        run_pid: 1
"""
FACTS = "- {name: Site | 1/1 | facts, hosts: all, become: true, gather_facts: true}"
LOCAL = 'for last; do :; done; exec /bin/sh -c "$last"'
CHANGED = """cat >&2 <<END
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Host key verification failed.
END
exit 255"""


def says(words: str, code: int = 255) -> str:
    return f'echo "{words}" >&2; exit {code}'


def played(folder: Path, playbook: str, ssh: str, sudo: str = "", **variables: object) -> str:
    """Run a playbook whose hosts answer by these scripts; return what it printed."""
    for name, text in (("ssh", ssh), ("sudo", sudo)):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    (folder / "play.yml").write_text(playbook)
    (folder / "rollback.yml").write_text(playbook)
    host = {
        "ansible_ssh_executable": str(folder / "ssh"), "ansible_become_exe": str(folder / "sudo"),
        "ansible_become": bool(sudo), "ansible_ssh_retries": 0, **variables,
    }  # fmt: skip
    groups = {"edge": {"hosts": {"edge1": host, "edge2": host}}, "api": {"hosts": {"app1": host}}}
    (folder / "hosts.yml").write_text(json.dumps(groups))
    env = {key: value for key, value in os.environ.items() if not key.startswith(("TURNOUT_", "ANSIBLE_"))}
    env |= {"XDG_STATE_HOME": str(folder / "state"), "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(folder / "hosts.yml"), "play.yml"],
        cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode not in (0, 250), said
    assert "Traceback" not in said
    return said


CASES = [
    (says("ann@10.0.0.5: Permission denied (publickey)."), "", {}, "Permission denied (publickey)", "ansible_user"),
    (says("ssh: connect to host 10.0.0.5 port 22: Connection refused"), "", {}, "Connection refused", "ansible_port"),
    (CHANGED, "", {}, "HAS CHANGED", "ssh-keygen -R"),
    (LOCAL, says("sudo: a password is required", 1), {}, "Missing sudo password", "ansible_become_password"),
    (LOCAL, says("ann is not in the sudoers file.", 1), {}, "not in the sudoers file", "sudoers"),
    (LOCAL, "", {"ansible_python_interpreter": "/no/python3"}, "'/no/python3' was not found", "apt-get install"),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("playbook", [BEGIN, FACTS])
def test_who_gets_into_no_host_has_changed_nothing_and_hears_what_mends_it(
    tmp_path: Path, playbook: str, case: tuple[str, str, dict[str, object], str, str]
) -> None:
    ssh, sudo, variables, seen, remedy = case
    said = played(tmp_path, playbook, ssh, sudo, **variables)
    cause = said[said.index("First cause") :]
    assert seen in cause and "expected: " in cause, said
    assert remedy in cause.partition("to mend: ")[2], said
    assert cause.endswith("nothing was changed\n") and "NOT done   events: " in cause, said
    assert "put back" not in said and "putting everything back" not in said
    assert not list((tmp_path / "state").rglob("keeper.pid"))


def test_every_host_that_nobody_gets_into_is_told_at_once(tmp_path: Path) -> None:
    said = played(tmp_path, BEGIN, says("ann@10.0.0.5: Permission denied (publickey)."))
    assert all(f"{name} UNREACHABLE" in said for name in ("edge1", "edge2", "app1")), said


# As a rollback goes on without hosts that do not answer.
PASSED_OVER = """
- {hosts: edge, gather_facts: false, ignore_unreachable: true, tasks: [ansible.builtin.ping: ]}
- {hosts: api, gather_facts: false, tasks: [ansible.builtin.ping: ]}
"""


@pytest.mark.parametrize("playbook", [BEGIN, FACTS, PASSED_OVER])
def test_what_mends_it_is_told_of_every_host_also_of_those_that_a_run_goes_on_without(
    tmp_path: Path, playbook: str
) -> None:
    said = played(tmp_path, playbook, says("ann@10.0.0.5: Permission denied (publickey)."))
    told = said[: said.index("First cause")]
    assert all(f"try: ansible {name} -m ping -b" in told for name in ("edge1", "edge2", "app1")), said


def test_a_run_that_failed_after_a_host_was_worked_on_does_not_say_that_nothing_was_changed(tmp_path: Path) -> None:
    works = (
        "- hosts: edge1\n  gather_facts: false\n  tasks:\n"
        f"    - ansible.builtin.command: touch {tmp_path}/touched\n    - ansible.builtin.command: /bin/false\n"
    )
    said = played(tmp_path, works, LOCAL)
    assert (tmp_path / "touched").exists()
    assert "NOT done   events: " in said and "nothing was changed" not in said, said


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("deploy@10.0.0.5: Permission denied (publickey,password).", "ansible_user"),
        ("Received disconnect from 10.0.0.5 port 22:2: Too many authentication failures", "IdentitiesOnly"),
        ("ssh: connect to host 10.0.0.5 port 22: Connection timed out", "ansible_host"),
        ("ssh: connect to host 10.0.0.5 port 2222: No route to host", "ansible_host"),
        ("Connection timed out during banner exchange", "ansible_host"),
        ("ssh: Could not resolve hostname app1: Name or service not known", "ansible_host"),
        ("No ED25519 host key is known for 10.0.0.5 and you have requested strict checking.\n"
         "Host key verification failed.", "log in once by hand"),
        ("Load key \"/home/ann/.ssh/id\": error in libcrypto\nann@10.0.0.5: Permission denied (publickey).",
         "ansible_ssh_private_key_file"),
        ("WARNING: UNPROTECTED PRIVATE KEY FILE!\nann@10.0.0.5: Permission denied (publickey).", "chmod 600"),
        ("no such identity: /home/ann/.ssh/none: No such file or directory\nann@h: Permission denied (publickey).",
         "ansible_ssh_private_key_file"),
        ("Unable to negotiate with 10.0.0.5 port 22: no matching host key type found. Their offer: ssh-rsa",
         "ansible_ssh_common_args"),
        ("kex_exchange_identification: Connection closed by remote host", "MaxStartups"),
        ("to use the password_mechanism=sshpass, you must install the sshpass program", "sshpass"),
        ("/home/ann/.ssh/config: line 3: Bad configuration option: hots", "SSH configuration"),
        ("This account is currently not available.", "login shell"),
        ("Task failed: Missing sudo password", "ansible_become_password"),
        ("sudo: a password is required", "ansible_become_password"),
        ("sudo: interactive authentication is required", "ansible_become_password"),
        ("Task failed: Incorrect sudo password", "ansible_become_password"),
        ("Sorry, user ann is not allowed to execute '/bin/sh' as root on app1.", "sudoers"),
        ("sudo: unknown user: shop", "ansible_become_user"),
        ("/bin/sh: 1: sudo: not found", "apt-get install sudo"),
        ("sudo: sorry, you must have a tty to run sudo", "requiretty"),
        ("Timeout (12s) waiting for privilege escalation prompt: ", "sudo -v"),
        ("The module interpreter '/usr/bin/python3' was not found.", "apt-get install python3"),
        ("/bin/sh: 1: /usr/bin/python3: not found", "apt-get install python3"),
        ("ansible-core requires a minimum of Python version 3.9. Current version: 3.5.3", "ansible_python_interpreter"),
        ("Failed to create temporary directory. In some cases, ...", "df -h"),
    ],
)  # fmt: skip
def test_each_thing_in_the_way_has_its_own_remedy(text: str, remedy: str) -> None:
    expected, mends = contact.advice(text, "app1", "inventories/production")
    assert expected
    assert remedy in mends


@pytest.mark.parametrize("text", ["", "error[x]: no such release", "HAProxy: Connection refused by the application"])
def test_what_no_host_said_at_first_contact_gets_no_remedy_of_it(text: str) -> None:
    assert contact.advice(text, "app1", "inventories/production") is None
