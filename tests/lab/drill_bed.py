"""What tests and benches of drills work on: the lab with a backup, a drill's plan, and the means to break things."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness import BIN, ROOT, Turnout
from turnout.lab import store

PLACE = "/var/lib/turnout-drill"


@dataclass
class Bed:
    """The lab with a backup, the plan of a drill on it, and the means to break what it reads."""

    turnout: Turnout
    plan: dict[str, Any]

    def drill(self, **changes: Any) -> dict[str, Any]:
        """Run the plan with changes on the drill host; return what it measured."""
        name = f"t{secrets.token_hex(4)}"
        plan = {**self.plan, **changes, "id": name}
        answer = self.send("mon1", "turnout-drill start", json.dumps(plan))
        measured: dict[str, Any] = json.loads(answer)
        self.turnout.ssh("mon1", f"rm -f /var/lib/turnout-drill-records/{name}.json")
        return measured

    def send(self, host: str, command: str, text: str) -> str:
        """Run a command with text on its standard input, which may hold secrets."""
        done = subprocess.run(
            [str(BIN / "turnout"), "lab", "ssh", host, command], input=text, capture_output=True, text=True,
            env=self.turnout.env(), cwd=ROOT, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sql(self, text: str, database: str = "sample") -> str:
        """Ask the primary as its superuser."""
        words = f"sudo -u postgres psql -X -q -A -t -v ON_ERROR_STOP=1 -d {database}"
        return self.send("data1", words, text).strip()

    def archived(self) -> str:
        """Return once all WAL up to now is in the repository."""
        segment = self.sql("SELECT pg_walfile_name(pg_switch_wal())", "postgres")
        deadline = time.monotonic() + 60
        while True:
            done = self.sql("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver", "postgres")
            if done >= segment:
                return segment
            assert time.monotonic() < deadline, f"{segment} was not archived, only {done}"
            time.sleep(0.3)

    @contextlib.contextmanager
    def object_changed(self, key: str, change: Callable[[bytes], bytes | None]) -> Iterator[None]:
        """Change one object of the repository (None removes it), and put it back afterwards."""
        client = store.load(self.turnout.lab).client()
        body = client.get_object(Bucket="backups", Key=key)["Body"].read()
        changed = change(body)
        try:
            if changed is None:
                client.delete_object(Bucket="backups", Key=key)
            else:
                client.put_object(Bucket="backups", Key=key, Body=changed)
            yield
        finally:
            client.put_object(Bucket="backups", Key=key, Body=body)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys of the repository below a prefix."""
        pages = store.load(self.turnout.lab).client().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket="backups", Prefix=f"pgbackrest/{prefix}")
        return sorted(entry["Key"] for page in found for entry in page.get("Contents", []))

    def restoring(self, process: subprocess.Popen[str]) -> None:
        """Return when the restore of a playbook has begun."""
        deadline = time.monotonic() + 120
        while "yes" not in self.turnout.ssh("mon1", f"ls {PLACE}/*/pgdata/base >/dev/null && echo yes", check=False):
            assert process.poll() is None, process.communicate()[0][-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def nothing_left(self) -> None:
        """See that drills and rehearsals left no folder, no unit and no namespace on their host."""
        folders = f"{PLACE} /var/lib/turnout-rehearsal /run/netns"
        said = self.turnout.ssh(
            "mon1",
            # An answer that nobody came for stays until the next rehearsal; a plan, which has secrets, does not.
            f"find {folders} -mindepth 1 -maxdepth 1 2>/dev/null; find /run/turnout-rehearsal -name plan 2>/dev/null;"
            " systemctl list-units --no-legend --plain --all 'turnout-drill-[0-9t]*' 'turnout-rehearsal-*'",
        )
        assert said.strip() == "", said


def make_bed(turnout: Turnout, before_backup: Callable[[Bed], object] = lambda _: None) -> Bed:
    """Take a full backup and read the plan of a drill of 1.0.0, both by playbooks."""
    turnout.publish("1.0.0")
    path = turnout.lab.state_dir / "drill-plan.json"
    run = turnout.playbook(
        "../tests/lab/drill_plan", "-e", "release=1.0.0", "-e", "run_id=t", "-e", f"plan_file={path}"
    )
    assert run.rc == 0, run.tail
    bed = Bed(turnout, json.loads(path.read_text()))
    path.unlink()
    before_backup(bed)
    run = turnout.playbook("backup", "-e", "type=full")
    assert run.rc == 0, run.tail
    bed.archived()
    return bed
