"""No secret of the service in any output at -vvv, in journal, ledger or on a command line; nor on a failure."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import pytest
from harness import APPS, EDGES, Turnout


def secrets_of(turnout: Turnout) -> dict[str, str]:
    """Return every secret of the lab by name: passwords, keys of the store, the addresses that hold them."""
    found = {path.name: path.read_text().strip() for path in (turnout.lab.state_dir / "secrets").iterdir()}
    found["s3 reader"] = turnout.s3["identities"]["reader"]["secret_key"]
    found["s3 admin"] = turnout.s3["identities"]["admin"]["secret_key"]
    assert len(found) > 5
    return found


class CommandLines:
    """All command lines that were seen on this machine, which the lab's hosts share, while the block ran."""

    def __enter__(self) -> CommandLines:
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    self.seen.add((process / "cmdline").read_bytes())
                except OSError:
                    continue

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def everything_written(turnout: Turnout) -> str:
    """Return what the runs left behind: journals and ledgers of the edges, events and logs of the controller."""
    text = ""
    for edge in EDGES:
        text += turnout.ssh(edge, "cat /var/lib/turnout/*.json*")
    for host in APPS:
        text += turnout.ssh(
            host, "journalctl -o cat -t python3 -t ansible-ansible.legacy.command --no-pager | tail -n 500"
        )
        text += turnout.ssh(host, "cat /var/lib/turnout-slots -r 2>/dev/null; true", check=False)
    for folder in sorted((turnout.lab.state_dir.parent / "runs").iterdir())[-12:]:
        for file in folder.iterdir():
            text += file.read_text(errors="replace")
    return text


@pytest.mark.parametrize(
    ("version", "faults", "good"),
    [
        ("4.0.1", (), True),
        ("4.0.2", ("secret-in-output", "crash-at-start"), False),
        ("4.0.3", ("secret-in-output", "failing-migration"), False),
    ],
)
def test_no_secret_leaves_its_place(turnout: Turnout, version: str, faults: tuple[str, ...], good: bool) -> None:
    turnout.ensure("1.1.0")
    turnout.publish(version, *faults)
    with CommandLines() as lines:
        run = turnout.deploy(version, "-vvv", "--diff")
        outs = run.out
        if good:
            outs += turnout.rollback("-vvv", "--diff").out
        outs += turnout.playbook("status", "-vvv").out
    assert (run.rc == 0) == good, run.tail
    written = everything_written(turnout)
    commands = b"\n".join(lines.seen).decode(errors="replace")
    assert "ansible-playbook" in commands, "the watch over command lines must see something"
    for name, secret in secrets_of(turnout).items():
        assert secret not in outs, f"{name} is in the output"
        assert secret not in written, f"{name} is in a record"
        assert secret not in commands, f"{name} is on a command line"


def test_the_search_finds_a_secret_that_is_there(turnout: Turnout) -> None:
    """The search itself is tried: a planted secret is found in each of the three places."""
    name, secret = next(iter(secrets_of(turnout).items()))
    with CommandLines() as lines:
        subprocess.run(["sh", "-c", "sleep 0.5; true", secret], check=True)
    assert secret in b"\n".join(lines.seen).decode(errors="replace"), name
    turnout.ssh(
        "edge1", f"turnout-edge --run planted --actor test journal --event note --json '{json.dumps({'x': secret})}'"
    )
    try:
        assert secret in everything_written(turnout)
    finally:
        turnout.ssh("edge1", f"sed -i '/{secret}/d' /var/lib/turnout/journal.jsonl")
