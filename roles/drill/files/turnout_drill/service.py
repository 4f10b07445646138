"""The release's own API and worker on the restored data, cut off from everything else, and the smoke tests."""

from __future__ import annotations

import http.client
import os
import pwd
import time
from pathlib import Path
from typing import Any

from .errors import BrokenOff
from .isolation import Decoys, Isolation
from .place import Place
from .shell import ProgramError, transient, unit_active, unit_said

SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_POLL_S = 0.05


class Service:
    """One API and one worker of each kind that the service has."""

    def __init__(
        self, place: Place, isolation: Isolation, decoys: Decoys, plan: dict[str, Any], hosts: dict[str, str]
    ) -> None:
        self.place, self.isolation, self.decoys, self.plan = place, isolation, decoys, plan
        self.hosts = hosts
        self.trusted: list[str] = []
        self.workers = {f"worker-{name}": how for name, how in plan["workers"].items()}

    def prepare(self) -> None:
        """Lay environment and names; nothing runs yet."""
        place, user = self.place, self.plan["user"]
        place.write("service.env", self.plan["environment"], 0o600)
        lines = ["127.0.0.1 localhost", "::1 localhost", *(f"{to} {name}" for name, to in self.hosts.items())]
        place.write("hosts", "\n".join(lines) + "\n", 0o644)
        state = place.folder / "state"
        state.mkdir(mode=0o700)
        account = pwd.getpwnam(user)
        os.chown(state, account.pw_uid, account.pw_gid)
        for directory in self.plan.get("directories", []):  # each empty
            part = state
            for name in Path(directory["source"]).relative_to(f"/var/lib/{self.plan['name']}").parts:
                part /= name
                part.mkdir(mode=0o700, exist_ok=True)
                os.chown(part, account.pw_uid, account.pw_gid)
        root = self.plan["layout"]["root"]
        self.trusted = [*self.plan.get("trusted", [])]
        self.trusted += [SYSTEM_AUTHORITIES] if Path(root + SYSTEM_AUTHORITIES).exists() else []
        for path in self.trusted:
            place.hold(Path(root + path))

    def start(self, process: str) -> None:
        """Start `api`, or `worker-NAME`. Raises BrokenOff."""
        place, plan, layout = self.place, self.plan, self.plan["layout"]
        how = plan["api"] if process == "api" else self.workers[process]
        state = f"/var/lib/{plan['name']}"
        shared = [
            f"{place.folder}/state/{Path(one['source']).relative_to(state)}:{one['seen']}"
            for one in plan.get("directories", [])
            if one["seen"] != one["source"]
        ]
        os.makedirs(state, exist_ok=True)
        environment = {
            "SSL_CERT_FILE": SYSTEM_AUTHORITIES,
            **layout["environment"],
            "HOME": state,
            **how["variables"],
        }
        properties = {
            "User": plan["user"],
            "WorkingDirectory": layout["folder"],
            "EnvironmentFile": place.folder / "service.env",
            "NetworkNamespacePath": self.isolation.path,
            "BindPaths": [f"{place.folder}/state:{state}", *shared, *([] if layout["root"] else self.decoys.binds)],
            "BindReadOnlyPaths": [
                f"{place.folder}/hosts:/etc/hosts",
                f"{place.folder}/resolv.conf:/etc/resolv.conf",
                *(f"{place.folder}/ca.crt:{path}" for path in self.trusted),
            ],
            # The host's Unix sockets know no network. An image's /run is its own.
            **({} if layout["root"] else {"TemporaryFileSystem": "/run:ro"}),
            # A local mail program would take what a worker sends without any network.
            "InaccessiblePaths": ["-/usr/sbin/sendmail", "-/run/systemd/resolve", "-/run/nscd"],
            "NoNewPrivileges": "yes",
            "ProtectSystem": "strict",
            "ProtectHome": "yes",
            "PrivateTmp": "yes",
            "PrivateDevices": "yes",
            "CapabilityBoundingSet": "",
            # An image's files as the root, but for the names of hosts, which are those above.
            **{name: value for name, value in layout["properties"].items() if name != "BindReadOnlyPaths"},
        }
        try:
            transient(place.unit(process), how["argv"], properties, environment)
        except ProgramError as error:
            raise BrokenOff(f"the restored {process} does not start: {error}", process) from None

    def wait_for_health(self) -> None:
        """Return when the API answers its health check. Raises BrokenOff."""
        health = self.plan["api"]["health"]
        deadline = time.monotonic() + float(health["deadline_s"])
        asked = {name: health.get(name) for name in ("path", "status", "headers")}
        while True:
            fault = self.request(asked, float(health["timeout_s"]))
            if fault is None:
                return
            if not unit_active(self.place.unit("api")):
                raise BrokenOff(f"the restored API ended: {unit_said(self.place.unit('api'))}", "api")
            if time.monotonic() > deadline:
                raise BrokenOff(f"the restored API was not healthy within {health['deadline_s']} s: {fault}", "api")
            time.sleep(_POLL_S)

    def request(self, test: dict[str, Any], timeout_s: float = 10) -> str | None:
        """Make one request of the smoke tests inside the namespace; return what is wrong with the answer, or None."""

        def ask() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", self.plan["api"]["port"], timeout=timeout_s)
            try:
                body = test.get("body")
                connection.request(
                    test.get("method") or "GET", test["path"], body=body.encode() if body else None,
                    headers=test.get("headers") or {},
                )  # fmt: skip
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        try:
            status, body = self.isolation.inside(ask)
        except (OSError, http.client.HTTPException) as error:
            return f"{test['path']}: {error}"
        if status != int(test.get("status") or 200):
            return f"{test['path']} answered {status}, {test.get('status') or 200} was expected"
        if test.get("contains") and test["contains"].encode() not in body:
            return f"{test['path']} answered {status} without the text that was expected"
        return None

    def worker_fault(self) -> str | None:
        """Return what is wrong with the workers, each by its kind, or None."""
        ended = {name: unit for name in self.workers if not unit_active(unit := self.place.unit(name))}
        return "; ".join(f"the restored {name} ended: {unit_said(unit)}" for name, unit in ended.items()) or None
