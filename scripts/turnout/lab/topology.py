"""Which hosts a lab has, and where they and their keys are found.

A lab is named by `TURNOUT_LAB` and lives in the /24 network `TURNOUT_LAB_SUBNET`, so that several can stand
side by side. `inventories/lab/hosts.yml` reads the same two variables with the same defaults.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from turnout.errors import TurnoutError

DEFAULT_NAME = "turnout"
DEFAULT_SUBNET = "10.77.0"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_SUBNET = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}")


@dataclass(frozen=True)
class Host:
    """One host of every lab: its name and the last number of its address."""

    name: str
    octet: int


EDGE1 = Host("edge1", 11)
EDGE2 = Host("edge2", 12)
APP1 = Host("app1", 21)
APP2 = Host("app2", 22)
DATA1 = Host("data1", 31)
MON1 = Host("mon1", 41)
STORE1 = Host("store1", 51)

HOSTS: tuple[Host, ...] = (EDGE1, EDGE2, APP1, APP2, DATA1, MON1, STORE1)


def host_named(name: str) -> Host:
    """Return the host called `name`; raises `TurnoutError` with the names there are."""
    for host in HOSTS:
        if host.name == name:
            return host
    names = ", ".join(host.name for host in HOSTS)
    raise TurnoutError(
        "lab-host-unknown",
        observed=f"the lab has no host named {name!r}",
        expected=f"one of {names}",
        remedy="turnout lab status",
    )


@dataclass(frozen=True)
class Lab:
    """One lab: its name, its network and the folder that holds its keys and state."""

    name: str
    subnet: str
    state_dir: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Lab:
        """Return the lab that `TURNOUT_LAB`, `TURNOUT_LAB_SUBNET` and `XDG_STATE_HOME` describe."""
        env = os.environ if environment is None else environment
        name = env.get("TURNOUT_LAB") or DEFAULT_NAME
        subnet = env.get("TURNOUT_LAB_SUBNET") or DEFAULT_SUBNET
        if not _NAME.fullmatch(name):
            raise TurnoutError(
                "lab-name",
                observed=f"TURNOUT_LAB is {name!r}",
                expected="a small letter, then at most 30 small letters, digits and dashes",
                remedy=f"unset TURNOUT_LAB (the lab is then named {DEFAULT_NAME!r})",
            )
        if not _is_private_prefix(subnet):
            raise TurnoutError(
                "lab-subnet",
                observed=f"TURNOUT_LAB_SUBNET is {subnet!r}",
                expected="the first three numbers of a private network, such as 10.77.0",
                remedy=f"unset TURNOUT_LAB_SUBNET (the network is then {DEFAULT_SUBNET}.0/24)",
            )
        state_home = env.get("XDG_STATE_HOME") or str(Path(env.get("HOME") or str(Path.home())) / ".local/state")
        return cls(name=name, subnet=subnet, state_dir=Path(state_home) / "turnout" / name)

    @property
    def cidr(self) -> str:
        """The network in CIDR notation."""
        return f"{self.subnet}.0/24"

    @property
    def gateway(self) -> str:
        """This machine's own address in the lab's network."""
        return f"{self.subnet}.1"

    @property
    def private_key(self) -> Path:
        """The SSH key that opens every host."""
        return self.state_dir / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The host keys, as read from the hosts themselves."""
        return self.state_dir / "known_hosts"

    @property
    def record(self) -> Path:
        """What the last complete `up` made: image, suite, addresses."""
        return self.state_dir / "lab.json"

    def container(self, host: Host) -> str:
        """Return the podman name of a host."""
        return f"{self.name}-{host.name}"

    def address(self, host: Host) -> str:
        """Return the IPv4 address of a host."""
        return f"{self.subnet}.{host.octet}"

    def hardware_address(self, host: Host) -> str:
        """Return the MAC address of a host.

        It is fixed, or else a host that starts anew would not be reached for half a minute by those who still
        have its former one in their ARP tables.
        """
        parts = [int(part) for part in self.address(host).split(".")]
        return "02:74:" + ":".join(f"{part:02x}" for part in parts)


def _is_private_prefix(text: str) -> bool:
    if not _SUBNET.fullmatch(text):
        return False
    try:
        return ipaddress.IPv4Network(f"{text}.0/24").is_private
    except ValueError:
        return False
