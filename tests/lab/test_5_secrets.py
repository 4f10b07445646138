"""No secret of the service in any output at -vvv, in journal, ledger or on a command line; nor on a failure."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from pathlib import Path

import psycopg
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


# Looks for the migrator's environment, wherever a process of its own user might find it, until it is told to end.
LOOK = """
import glob, json, os, pwd, time
found, until = [], time.monotonic() + {seconds}
while time.monotonic() < until and not os.path.exists("/tmp/turnout-tests-looked"):
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/etc/sample/*") + glob.glob("/run/turnout/*"):
        try:
            with open(path, "rb") as file:
                text = file.read()
            if b"MIGRATE_DATABASE_URL" in text:
                owner = pwd.getpwuid(os.stat(path).st_uid).pw_name
                kind = "proc" if path.startswith("/proc") else path
                if [kind, owner] not in found:
                    found.append([kind, owner])
        except OSError:
            continue
    time.sleep(0.005)
print(json.dumps(found))
"""


def test_the_service_cannot_read_the_password_of_the_databases_owner(turnout: Turnout) -> None:
    """A process of the service's user looks for it while migrations run; root, who looks too, finds it."""
    turnout.ensure("1.0.0")
    found: dict[str, list[list[str]]] = {}

    def look(user: str) -> None:
        script = LOOK.format(seconds=60)
        said = turnout.ssh("app1", f"runuser -u {user} -- python3 -c '{script}'", timeout_s=120)
        found[user] = json.loads(said.splitlines()[-1])

    watchers = [threading.Thread(target=look, args=(user,)) for user in ("root", "sample")]
    turnout.ssh("app1", "rm -f /tmp/turnout-tests-looked")
    for watcher in watchers:
        watcher.start()
    run = turnout.deploy("1.1.0")
    turnout.ssh("app1", "touch /tmp/turnout-tests-looked")
    for watcher in watchers:
        watcher.join()
    assert run.rc == 0, run.tail
    assert ["proc", "sample-migrate"] in found["root"], "the migrator ran as its own user while we looked"
    assert {owner for _, owner in found["root"]} <= {"sample-migrate", "root"}
    assert found["sample"] == []


def test_nobody_reaches_the_database_without_tls(turnout: Turnout) -> None:
    turnout.ensure("1.1.0")
    password = (turnout.lab.state_dir / "secrets" / "postgres_readonly").read_text().strip()
    address = f"host={turnout.address('data1')} dbname=sample user=sample_readonly connect_timeout=10"
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(address, password=password, sslmode="disable")
    with psycopg.connect(address, password=password, sslmode="require") as session:
        assert session.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
    plain = (
        "SELECT count(*) FILTER (WHERE NOT ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
        " WHERE client_addr IS NOT NULL"
    )
    said = turnout.ssh("data1", f'cd / && sudo -u postgres psql -XAtc "{plain}"').strip()
    clear, over_the_network = map(int, said.split("|"))
    assert over_the_network >= 2, "API and worker have sessions"
    assert clear == 0


def test_who_knows_the_authority_can_tell_the_database_from_another(turnout: Turnout, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text(turnout.ssh("data1", "cat /etc/turnout-postgres/ca.crt"))
    password = (turnout.lab.state_dir / "secrets" / "postgres_readonly").read_text().strip()
    address = f"host=data1 hostaddr={turnout.address('data1')} dbname=sample user=sample_readonly"
    trust = {"password": password, "sslmode": "verify-full", "sslrootcert": str(authority)}
    psycopg.connect(address, **trust).close()
    with pytest.raises(psycopg.OperationalError, match=re.compile("does not match|verify failed")):
        psycopg.connect(address.replace("host=data1", "host=elsewhere"), **trust)
    modes = turnout.ssh("data1", "stat -c '%n %a %U' /etc/turnout-postgres/*.key").splitlines()
    assert sorted(line.split("/")[-1] for line in modes) == ["ca.key 600 root", "server.key 600 postgres"]
