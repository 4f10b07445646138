"""How long a drill takes against a restore by hand and against copying the data: `make bench-drill`.

On the lab, with a database of SIZE_MB (2048) megabytes: `cp -a` of the primary's data directory, `pgbackrest restore`
with start and replay by hand, and a drill, on the same hosts in one run. The drill's own steps are what it takes
beyond copy and replay, without the validations; they may take at most a tenth of the restore by hand, and the phases
must sum to the whole within a hundredth. Prints a table, then one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

from drill_bed import Bed, make_bed
from harness import provisioned, sample_digest

SIZE_MB = int(os.environ.get("SIZE_MB", "2048"))
MOST_OVERHEAD = 0.10
HAND = "/var/lib/turnout-drill-by-hand"
# Phases that are the drill's own: a restore by hand has no preflight, no fix-ups.
OWN = ("provision", "preflight", "fixups")
RESTORE = ("copy", "consistency", "target", "promote")


def fill(bed: Bed) -> int:
    """Bring the database to its size with rows that do not compress away; return its bytes."""
    bed.sql(
        "CREATE TABLE IF NOT EXISTS bench_filler (id bigint GENERATED ALWAYS AS IDENTITY, body text);"
        "ALTER TABLE bench_filler ALTER body SET STORAGE PLAIN"
    )
    while (size := int(bed.sql("SELECT pg_database_size('sample')"))) < SIZE_MB << 20:
        bed.sql(
            "INSERT INTO bench_filler (body) SELECT string_agg(md5(random()::text), '')"
            " FROM generate_series(1, 100000) r, generate_series(1, 30) GROUP BY r"
        )
    return size


def by_hand(bed: Bed) -> dict[str, float]:
    """Restore, start and replay with pgBackRest alone, on the drill host; return the seconds of each."""
    options = bed.plan["repository_options"]
    lines = ["[global]", *(f"repo1-{name}={value}" for name, value in options.items())]
    lines += [
        f"repo1-storage-ca-file={HAND}/ca.crt", f"lock-path={HAND}/lock", f"spool-path={HAND}/spool", "archive-async=y",
        "log-level-file=off", f"process-max={bed.plan['process_max']}",
        f"[{bed.plan['stanza']}]", f"pg1-path={HAND}/data",
    ]  # fmt: skip
    bed.turnout.ssh("mon1", f"rm -rf {HAND}; install -d -o postgres -g postgres -m 700 {HAND} {HAND}/data")
    for name, text in (("conf", "\n".join(lines) + "\n"), ("ca.crt", bed.plan["ca"])):
        bed.send("mon1", f"cat > {HAND}/{name}; chown postgres {HAND}/{name}; chmod 600 {HAND}/{name}", text)
    as_postgres = "cd / && sudo -u postgres"
    began = time.monotonic()
    bed.turnout.ssh(
        "mon1",
        f"{as_postgres} pgbackrest --config={HAND}/conf --stanza=sample --archive-mode=off restore",
        timeout_s=900,
    )
    copied = time.monotonic()
    server = f"/usr/lib/postgresql/17/bin/pg_ctl -D {HAND}/data -w -t 900 -l {HAND}/log"
    settings = f"-c listen_addresses= -c unix_socket_directories={HAND} -c max_connections=200 -c shared_buffers=128MB"
    bed.turnout.ssh("mon1", f"touch {HAND}/data/postgresql.conf; cp /dev/null {HAND}/hba; chown postgres {HAND}/hba")
    bed.turnout.ssh(
        "mon1",
        f"echo local all all peer > {HAND}/hba; {as_postgres} {server} -o '{settings} -c hba_file={HAND}/hba' start",
        timeout_s=900,
    )  # fmt: skip
    waiting = f"{as_postgres} psql -h {HAND} -Atc 'SELECT pg_is_in_recovery()'"
    while bed.turnout.ssh("mon1", waiting, check=False).strip() != "f":
        time.sleep(0.05)
    ended = time.monotonic()
    bed.turnout.ssh("mon1", f"{as_postgres} {server} -m immediate stop; rm -rf {HAND}")
    return {"restore": copied - began, "start and replay": ended - copied}


def copy(bed: Bed) -> float:
    """Copy the primary's data directory beside itself; return the seconds."""
    began = time.monotonic()
    bed.turnout.ssh("data1", "cp -a /var/lib/postgresql/17/main /var/lib/postgresql/bench-copy; sync", timeout_s=900)
    took = time.monotonic() - began
    bed.turnout.ssh("data1", "rm -rf /var/lib/postgresql/bench-copy")
    return took


def main() -> int:
    """Run the bench; return the exit code."""
    turnout = provisioned(f"s3://releases/demo-{sample_digest()}")
    bed = make_bed(turnout, before_backup=fill)
    size = int(bed.sql("SELECT pg_database_size('sample')"))
    copied = copy(bed)
    hand = by_hand(bed)
    began = time.monotonic()
    measured = bed.drill()
    whole = time.monotonic() - began
    bed.sql("DROP TABLE bench_filler")
    wrong = [c["detail"] for c in measured["checks"] if c["outcome"] != "pass"] + measured["causes"]
    phases: dict[str, float] = {}
    previous = measured["began_s"]
    for name, mark in measured["marks"]:
        phases[name or "outside"] = phases.get(name or "outside", 0.0) + mark - previous
        previous = mark
    end_to_end = measured["marks"][[name for name, _ in measured["marks"]].index("smoke")][1] - measured["began_s"]
    summed = sum(seconds for name, seconds in phases.items() if name != "outside")
    by_hand_s = sum(hand.values())
    own = sum(phases.get(name, 0.0) for name in OWN)
    result = {
        "database_bytes": size, "cp_s": copied, "by_hand_s": by_hand_s, "drill_s": whole, "own_steps_s": own,
        "own_steps_part": own / by_hand_s, "rto_measured_s": end_to_end, "phases_sum_s": summed, "phases": phases,
        "restore_phases_s": sum(phases[name] for name in RESTORE), "wrong": wrong,
    }  # fmt: skip
    print(f"\n{'WHAT':<44}{'SECONDS':>9}")
    rows = [(f"cp -a of {size >> 20} MB", copied), *((f"by hand: {name}", s) for name, s in hand.items())]
    rows += [(f"drill: {name}", seconds) for name, seconds in phases.items()]
    for name, seconds in rows:
        print(f"{name:<44}{seconds:>9.2f}")
    good = not wrong and own <= MOST_OVERHEAD * by_hand_s and abs(summed - end_to_end) <= 0.01 * end_to_end
    print("holds" if good else "does NOT hold")
    print(json.dumps(result))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
