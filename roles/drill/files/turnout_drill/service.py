"""The release's own API and worker on the restored data, cut off from everything else, and the smoke tests."""

from __future__ import annotations

import http.client
import os
import pwd
import re
import time
from pathlib import Path
from typing import Any

from .errors import BrokenOff
from .isolation import Decoys, Isolation
from .place import Place
from .shell import ProgramError, transient, transient_to_end, unit_active, unit_said

SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_POLL_S = 0.05
_SHORTEST_SECRET = 4  # characters; replacing shorter values would garble the text and hide nothing


def hidden(text: str, environments: list[str]) -> str:
    """Return a text with the values of environment files in it, and the passwords of addresses, as their names."""
    found = {}
    for name, quoted in re.findall(r"^(\w+)=(.*)$", "\n".join(environments), re.MULTILINE):
        value = re.sub(r"\\(.)", r"\1", quoted.removeprefix('"').removesuffix('"'))
        password = value.partition("://")[2].partition("/")[0].rpartition("@")[0].partition(":")[2]
        found.update({one: name for one in (value, password) if len(one) >= _SHORTEST_SECRET})
    for value, name in sorted(found.items(), key=lambda one: -len(one[0])):
        text = text.replace(value, f"[{name}]")
    return text


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

    def migrate(self) -> None:
        """Apply the release's migrations, as the user that migrations run as. Raises BrokenOff."""
        how, unit = self.plan["migrate"], self.place.unit("migrate")
        home = pwd.getpwnam(how["user"]).pw_dir  # as in service: what is the service's own it may not read
        self.place.write("migrate.env", how["environment"], 0o600)
        try:
            transient_to_end(
                unit, how["argv"], self._properties(how["user"], "migrate.env"), self._environment({"HOME": home}),
                float(how["timeout_s"]),
            )  # fmt: skip
        except ProgramError as error:
            said = hidden(unit_said(unit, 8), [how["environment"], self.plan["environment"]])
            raise BrokenOff(f"the migrations failed on the restored data: {said or error}", "migrate") from None

    def start(self, process: str) -> None:
        """Start `api`, or `worker-NAME`. Raises BrokenOff."""
        how = self.plan["api"] if process == "api" else self.workers[process]
        properties = self._properties(self.plan["user"], "service.env")
        try:
            transient(self.place.unit(process), how["argv"], properties, self._environment(how["variables"]))
        except ProgramError as error:
            raise BrokenOff(f"the restored {process} does not start: {error}", process) from None

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        return {
            "SSL_CERT_FILE": SYSTEM_AUTHORITIES,
            **self.plan["layout"]["environment"],
            "HOME": f"/var/lib/{self.plan['name']}",
            **variables,
        }

    def _properties(self, user: str, environment_file: str) -> dict[str, object]:
        """Return what makes a unit of this service one that sees the cage, and nothing else of this host."""
        place, plan, layout = self.place, self.plan, self.plan["layout"]
        state = f"/var/lib/{plan['name']}"
        shared = [
            f"{place.folder}/state/{Path(one['source']).relative_to(state)}:{one['seen']}"
            for one in plan.get("directories", [])
            if one["seen"] != one["source"]
        ]
        os.makedirs(state, exist_ok=True)
        return {
            "User": user,
            "WorkingDirectory": layout["folder"],
            "EnvironmentFile": place.folder / environment_file,
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

    def fault(self) -> str | None:
        """Return what is wrong with API and workers after the questions: which has ended, or None."""
        unit = self.place.unit("api")
        api = None if unit_active(unit) else f"the restored API ended: {unit_said(unit)}"
        return "; ".join(filter(None, (api, self.worker_fault()))) or None
