"""Every check that there is: its name, what it looks at, and what must be written for it to be looked at.

The list of what is not configured, the names that waivers may use and docs/checklist.md come from here.
"""

from __future__ import annotations

from dataclasses import dataclass

CONTROLLER, HOSTS, LEDGER = "controller", "hosts", "edges' ledger"


@dataclass(frozen=True)
class Entry:
    """One check. `needs` names the key of `checklist` without which it is not configured; empty: none."""

    name: str
    asks: str
    passes: str
    needs: str = ""


_SERVER = "a host in group postgres, and the application's address"

CATALOG: tuple[Entry, ...] = (
    Entry("reachable", "every host", "it answers Ansible"),
    Entry("disk", "every host", "free space and inodes of `hosts.paths` above `disk_free_percent`, `disk_free_mb`"),
    Entry("memory", "every host", "available memory above `hosts.memory_free_percent`"),
    Entry("clock", "every host", "its clock is within `hosts.clock_skew_s` of the controller's"),
    Entry("environment", "application hosts", "manifest, inventory and what is laid agree on the variables"),
    Entry("rollback-target", "edges, application hosts", "the release in service is whole, healthy, in schema range"),
    Entry("postgres", "application hosts", "the application's own role logs in and may write", "postgres.url_from"),
    Entry("postgres-connections", "PostgreSQL host", "room for the pools of two colors", _SERVER),
    Entry("postgres-transactions", "PostgreSQL host", "no old transaction or lock in the way of a migration",
          _SERVER),
    Entry("postgres-replication", "PostgreSQL host", "as many replicas as declared, none behind",
          _SERVER),
    Entry("postgres-disk", "PostgreSQL host", "free space beside the data", _SERVER),
    Entry("redis", "application hosts", "the application's address answers", "redis.url_from"),
    Entry("redis-memory", "application hosts", "memory below its bound, nothing evicted", "redis.url_from"),
    Entry("redis-persistence", "application hosts", "what is in memory is on disk as declared", "redis.url_from"),
    Entry("queue", "application hosts or Prometheus", "depth, age, retries, dead letters, time to drain in bounds;"
          " served, not paused, nothing overdue or lost", "queues"),
    Entry("outgoing", "application hosts", "services that ours calls answer", "outgoing"),
    Entry("certificate", "the hosts of its group", "days left", "certificates"),
    Entry("s3", "controller", "an object can be put, got and deleted", "s3"),
    Entry("slo-budget", "Prometheus", "error budget left on each SLO", "slos"),
    Entry("alerts", "Prometheus", "no page fires", "prometheus"),
    Entry("alerts-proven", "Prometheus, the monitoring host", "a drill saw each alert at its receiver, lately",
          "alert_drill"),
    Entry("restore-proof", "the edges' ledger", "the last drill's age and verdict, RPO and RTO", "restore"),
    Entry("acceptance", "the edges' ledger", "packs asked of exactly this artifact, none too old", "acceptance"),
    Entry("freeze", "controller", "no freeze window holds now", "freeze"),
    Entry("ci", "forge", "every required check passed for exactly this commit", "forge"),
    Entry("branch-policy", "forge", "branches are protected as required", "forge"),
    Entry("migrations-reviewed", "forge, controller", "each pending migration has a review on record", "migrations"),
    Entry("migrations-linted", "controller", "squawk finds nothing beyond what is allowed", "migrations"),
    Entry("migrations-kind", "controller", "no contract migration while the way back needs what it drops"),
    Entry("migrations-rehearsed", "the edges' ledger", "a rehearsal of exactly these migrations", "migrations"),
)  # fmt: skip

NAMES = tuple(entry.name for entry in CATALOG)
