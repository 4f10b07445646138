"""The drill, from the declared failure to the last thing removed; and the restore for real, which is its first half."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

from . import encrypted, failure, points, prerequisites, redis, validation
from .database import Database
from .engine import Engine, when
from .errors import BrokenOff
from .isolation import NOWHERE, Decoys, Isolation
from .place import Place
from .questions import Questions
from .record import Measured
from .service import Service
from .shell import ProgramError
from .wal import Chain, lsn_number, lsn_text


class Story:
    """One restore in one place."""

    def __init__(self, plan: dict[str, Any], measured: Measured) -> None:
        self.plan, self.measured = plan, measured
        self.place = Place(plan["directory"], plan["id"])
        self.engine = Engine(self.place, plan)
        self.isolation: Isolation | None = None
        self.database_isolation = Isolation(self.place.database_namespace)
        self.decoys = Decoys(self.place)
        self.f: dict[str, Any] | None = None

    def run(self) -> None:
        """Do all of it. What breaks it off becomes a cause; a fault of the backup becomes a failed check too."""
        measured = self.measured
        try:
            self._steps()
        except BrokenOff as end:
            if end.check is None:
                measured.data["causes"].append(end.cause)
            else:
                measured.check(end.check, end.cause)
        except ProgramError as error:
            measured.data["causes"].append(str(error))
        self._count_attempts()

    def _count_attempts(self) -> None:
        """Count what tried to leave: by the kernel's numbers of both networks, and the callers of false sockets."""
        made = [one for one in (self.database_isolation, self.isolation) if one is not None and one.made]
        if not made:
            return
        try:
            tried = {one.name: one.blocked() for one in made}
        except OSError as error:
            self.measured.data["causes"].append(f"blocked outgoing calls could not be counted: {error}")
            return
        self.measured.data["egress_blocked"] = sum(tried.values()) + self.decoys.callers
        self.measured.data["notes"]["blocked"] = {
            "database": tried.get(self.database_isolation.name, 0),
            "service": sum(tried.values()) - tried.get(self.database_isolation.name, 0),
            "sockets": self.decoys.callers,
        }

    def _steps(self) -> None:
        plan, measured = self.plan, self.measured
        self._declare()
        self.place.make(time.time() + float(plan["limit_s"]))
        self.engine.lay(plan["repository_options"], plan.get("ca") or "", int(plan["process_max"]))
        self._cage()
        measured.mark("provision")
        backup, chain, target = self._choose()
        database = Database(self.place, backup["version"])
        wrong = prerequisites.faults(self.engine, database, backup, chain, {**plan, **(self.f or {})})
        if wrong:
            measured.data["causes"] += wrong
            raise BrokenOff("nothing was restored")
        before = self.engine.histories()
        measured.mark("preflight")
        self.engine.restore(backup, target, chain)
        measured.mark("copy")
        database.configure(plan["settings"])
        self.engine.fetch()
        database.start(self.database_isolation, self.decoys)
        try:
            database.watch(measured.mark, float(plan["recovery_limit_s"]))
        except BrokenOff as end:
            said = self.engine.said_of_wal()
            raise BrokenOff(f"{end.cause}{'; ' + said if said else ''}", end.check) from None
        self.engine.fetched()
        replayed_to = validation.replay_end(database)
        measured.data["sizes"]["wal_bytes"] = max(0, lsn_number(replayed_to) - lsn_number(backup["lsn"]["start"]))
        measured.data["notes"]["replayed_to"] = replayed_to
        validation.live_instance(measured, database)
        validation.cut_off(measured, database, self.database_isolation)
        enabled = validation.subscriptions(database, switch_off=not plan["keep"])
        measured.data["notes"]["subscriptions"] = enabled
        validation.reached(measured, chain, replayed_to, target, self.engine.said_of_wal())
        self._isolate()
        measured.mark("fixups")
        self._validate(database, replayed_to)
        measured.mark("validation")
        if not plan["keep"]:
            self._redis_and_objects(database)
            self._service()
            if not plan.get("questions"):
                validation.deep(measured, database)
            measured.mark(None)
        self._unharmed(before)

    def _cage(self) -> None:
        """Make the database's network, in which there is nothing, and what stands where sockets would be."""
        self.place.write("hosts", "127.0.0.1 localhost\n::1 localhost\n", 0o644)
        self.place.write("resolv.conf", f"nameserver {NOWHERE}\noptions timeout:1 attempts:1\n", 0o644)
        self.database_isolation.make([])
        self.decoys.make({int(end["port"]) for end in self.plan["stand_ins"] if end["kind"] == "postgres"})

    def _declare(self) -> None:
        """Declare F, or take the time of an incident that has happened already."""
        if self.plan["primary"] is not None:
            self.f = self.plan.get("failure") or failure.declare(self.plan["primary"])
            self.engine.segment_bytes = int(self.f["segment_bytes"])
            self.measured.data["failure"] = {name: self.f[name] for name in ("at", "lsn", "heartbeat")}
            self.measured.data["began_s"] = self.f["began_s"]
            self.measured.check("archiving", failure.archiving(self.f))
        else:
            self.measured.data["began_s"] = time.monotonic()

    def _choose(self) -> tuple[dict[str, Any], Chain, dict[str, str] | None]:
        """Return backup, WAL and target, of what the repository held at F."""
        f_epoch = failure.epoch(self.f["at"]) if self.f else None
        f_lsn = lsn_number(self.f["lsn"]) if self.f else None
        backups = [
            backup for backup in self.engine.backups()
            if not backup.get("error") and (f_epoch is None or backup["timestamp"]["stop"] <= f_epoch)
        ]  # fmt: skip
        if not backups:
            raise BrokenOff(
                "the repository held no whole backup at the failure: ansible-playbook turnout.ops.backup -e type=full",
                "backup",
            )
        target = self._target()
        backup = self._backup_for(backups, target)
        chain = self.engine.chain_from(backup, f_epoch, f_lsn)
        if chain.missing:
            raise BrokenOff(
                f"WAL segment {chain.missing} is missing in the repository, after backup {backup['label']}", "wal_chain"
            )
        if self.plan["mode"] == "random":
            target = self._random_target(backup, chain)
        sizes = self.measured.data["sizes"]
        sizes["data_bytes"] = int(backup["info"]["size"])
        now = f_epoch if f_epoch is not None else time.time()
        sizes["backup_age_s"] = max(0.0, now - backup["timestamp"]["stop"])
        sizes["backup_interval_s"] = self.plan.get("backup_interval_s")
        self.measured.data["notes"].update(
            backup=backup["label"], wal_last=chain.last, wal_segments=chain.last - chain.first + 1, target=target
        )
        return backup, chain, target

    def _target(self) -> dict[str, str] | None:
        """Return the target; the repository knows the places of restore points. Raises BrokenOff."""
        asked: dict[str, str] | None = self.plan["target"]
        if asked is None or asked["type"] not in {"name", "release"}:
            return asked
        try:
            names = [name.removesuffix(".json") for name in self.engine.list_names("turnout/points")]
        except ProgramError:
            names = []
        value = str(asked["value"])
        fitting = [name for name in names if name == value or points.may_be_of(name, value)]
        found = [points.read(json.loads(self.engine.get(f"turnout/points/{name}.json"))) for name in fitting]
        if asked["type"] == "release":
            chosen = points.before_release(found, value) if found else None
        else:
            chosen = next((point for point in found if point.name == value), None)
        if chosen is None:
            known = ", ".join(sorted(names)[-5:]) or "none"
            raise BrokenOff(f"the repository knows no restore point for {value!r}; the last ones are: {known}")
        return {"type": "name", "value": chosen.name, "lsn": chosen.lsn, "at": chosen.at}

    def _backup_for(self, backups: list[dict[str, Any]], target: dict[str, str] | None) -> dict[str, Any]:
        mode = self.plan["mode"]
        if mode == "longest_chain":
            return backups[0]
        if mode == "random":
            return random.SystemRandom().choice(backups)
        if target is None:
            return backups[-1]
        if target["type"] == "time":
            moment = failure.epoch(target["value"])
            fitting = [backup for backup in backups if backup["timestamp"]["stop"] < moment]
        else:
            fitting = [
                backup for backup in backups
                if lsn_number(backup["lsn"]["stop"]) <= lsn_number(target["lsn"])
            ]  # fmt: skip
        if not fitting:
            oldest = when(backups[0]["timestamp"]["stop"])
            raise BrokenOff(f"no backup is older than the target; the oldest ended at {oldest}", "backup")
        return fitting[-1]

    def _random_target(self, backup: dict[str, Any], chain: Chain) -> dict[str, str]:
        # The last segment is left out, so that a record at or after the target exists.
        low, high = lsn_number(backup["lsn"]["stop"]), chain.last * chain.segment_bytes
        if high <= low:
            raise BrokenOff("there is too little WAL after the backup for a random point: drill again later")
        return {"type": "lsn", "value": lsn_text(random.SystemRandom().randrange(low, high))}

    def _isolate(self) -> None:
        """Make the network in which only the restored database and Redis exist."""
        plan = self.plan
        if plan["keep"]:
            return
        self.isolation = Isolation(self.place.namespace)
        ends = plan["stand_ins"]
        self.isolation.make([end["address"] for end in ends])
        names = [str(end[key]) for end in ends for key in ("name", "address") if end.get(key)]
        tls = encrypted.context(*encrypted.throwaway_certificate(self.place.folder, names))
        for end in ends:
            if end["kind"] == "postgres":
                self.isolation.forward(end["address"], int(end["port"]), self.place.sockets / ".s.PGSQL.5432", tls)

    def _validate(self, database: Database, replayed_to: str) -> None:
        plan, measured = self.plan, self.measured
        with measured.checking("heartbeat") as told:
            measured.data["recovered"] = validation.recovered(database, plan["heartbeat_database"], replayed_to)
            told(None)
        if plan.get("questions"):
            return  # what the data must be is a drill's question, and a candidate's checks may want its own schema
        checks = dict(plan["checks"])
        if plan["service"]:
            layout = plan["service"]["layout"]
            release = Path(f"{layout['root']}{layout['folder']}")
            for path in sorted((release / "drill_checks").glob("*.sql")):
                checks.setdefault(path.stem, path.read_text())
        if not checks:
            measured.unknown(
                "invariants", "the service has no drill_checks/*.sql, beside the inventory or in its release"
            )
        validation.invariants(measured, database, plan["database"], checks)

    def _redis_and_objects(self, database: Database) -> None:
        plan, measured = self.plan, self.measured
        if plan["redis"] is not None:
            until = failure.epoch(self.f["at"]) if self.f else None
            copy = redis.newest(self.engine, until)
            redis.restore(self.place, self.engine, copy)
            assert self.isolation is not None  # noqa: S101 - made by _isolate
            for end in plan["stand_ins"]:
                if end["kind"] == "redis":
                    keys = redis.start(
                        self.place, self.isolation.path, (end["address"], int(end["port"])), plan["redis"]["logins"],
                        tls=bool(end.get("tls")),
                    )  # fmt: skip
                    measured.check("redis", None, said=f"keys: {keys}, {copy.marker['keys']} when it was copied")
        if plan["uploads"] is not None:
            validation.uploads(
                measured, database, plan["database"], plan["uploads"]["query"], Path(plan["uploads"]["listing"])
            )
        if plan["redis"] is not None or plan["uploads"] is not None:
            measured.mark("redis_objects")

    def _service(self) -> None:
        plan, measured = self.plan, self.measured
        assert self.isolation is not None  # noqa: S101 - made by _isolate
        names = {end["name"]: end["address"] for end in plan["stand_ins"] if end.get("name")}
        service = Service(self.place, self.isolation, self.decoys, plan["service"], names)
        service.prepare()
        if plan["service"].get("migrate"):
            began = time.monotonic()
            service.migrate()
            measured.check("migrate", None, time.monotonic() - began)
        service.start("api")
        for name in service.workers:
            service.start(name)
        service.wait_for_health()
        began = time.monotonic()
        wrong = [fault for test in plan["service"]["smoke"] if (fault := service.request(test)) is not None]
        measured.check("smoke", "; ".join(wrong) or None, time.monotonic() - began)
        measured.mark("smoke")
        if service.workers:
            time.sleep(float(plan["worker_settle_s"]))
            measured.check("worker", service.worker_fault(), float(plan["worker_settle_s"]))
            measured.mark(None)
        if plan.get("questions"):
            self._ask(service)

    def _ask(self, service: Service) -> None:
        """Let the controller ask the candidate its questions, until it goes."""
        asked, measured = self.plan["questions"], self.measured
        assert self.isolation is not None  # noqa: S101 - made by _isolate
        questions = Questions(self.place, self.isolation, int(self.plan["service"]["api"]["port"]), int(asked["uid"]))
        began = time.monotonic()
        questions.open()
        fault = questions.wait(float(asked["first_s"]), float(asked["limit_s"]))
        measured.check("asked", fault, time.monotonic() - began)
        measured.check("alive", service.fault(), said="API and workers run after the questions")

    def _unharmed(self, before: list[str]) -> None:
        """See that the repository has the timelines that it had, and that it still refuses to be written."""
        with self.measured.checking("repository_unharmed") as told:
            gone_or_new = sorted(set(before) ^ set(self.engine.histories()))
            told(f"timelines changed in the repository: {', '.join(gone_or_new)}" if gone_or_new else None)
        began = time.monotonic()
        refusals = self.engine.refusals()
        if refusals.unclear and not refusals.allowed:
            if self.plan["keep"]:
                self.measured.data["notes"]["may_write"] = "; ".join(refusals.unclear)
            else:
                self.measured.unknown("repository_read_only", "; ".join(refusals.unclear))
            return
        fault = f"the credentials can {', '.join(refusals.allowed)} now" if refusals.allowed else None
        self.measured.check("repository_read_only", fault, time.monotonic() - began)
