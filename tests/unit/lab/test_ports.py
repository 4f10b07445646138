"""Ports that a test picks and another program binds later: nobody else gets them meanwhile."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import ports
import pytest
from ports import Stretch, free_port

SEVERAL = 40
BESIDE = f"""
import sys
sys.path.insert(0, {str(Path(ports.__file__).parent)!r})
from ports import free_port
print(*(free_port() for _ in range({SEVERAL})), flush=True)
sys.stdin.read()
"""


def test_no_outgoing_connection_gets_a_port_that_was_given() -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    given = [free_port() for _ in range(SEVERAL)]
    assert [port for port in given if first <= port <= last] == []


def test_a_port_is_not_given_again_before_somebody_could_bind_it() -> None:
    given = [free_port() for _ in range(300)]
    assert len(set(given)) == len(given)


def test_processes_beside_each_other_get_ports_of_different_stretches() -> None:
    words = [sys.executable, "-c", BESIDE]
    given = [{free_port() for _ in range(SEVERAL)}]
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one,
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
    ):
        for process in (one, other):
            assert process.stdout is not None
            given.append({int(port) for port in process.stdout.readline().split()})
        one.communicate()
        other.communicate()
    assert [len(part) for part in given] == [SEVERAL] * 3
    # Not only these: what each may give later lies elsewhere, too.
    assert len({port // ports.STRETCH for part in given for port in part}) == 3


def test_a_stretch_is_left_to_others_once_its_process_is_gone() -> None:
    held = Stretch(ports.stretches(*ports.outgoing()))
    among = [range(held.ports[0] - 1, held.ports[-1] + 1)]
    with pytest.raises(AssertionError):
        Stretch(among)
    held.close()
    Stretch(among).close()


def test_a_port_on_which_somebody_listens_is_passed_over() -> None:
    own = Stretch(ports.stretches(*ports.outgoing()))
    with socket.create_server(("127.0.0.1", own.ports[1])):
        assert [own.next(), own.next()] == [own.ports[0], own.ports[2]]
    own.close()


@pytest.mark.parametrize("outgoing", [(32768, 60999), (10000, 60999), (15250, 65535), (1024, 62000)])
def test_stretches_lie_outside_of_the_ports_of_outgoing_connections(outgoing: tuple[int, int]) -> None:
    found = ports.stretches(*outgoing)
    assert found
    for stretch in found:
        assert ports.LOWEST <= stretch[0] < stretch[-1] < 65536
        assert not set(stretch) & set(range(outgoing[0], outgoing[1] + 1))


def test_a_machine_that_leaves_no_ports_is_told_what_mends_it() -> None:
    with pytest.raises(AssertionError) as caught:
        Stretch(ports.stretches(1024, 65535))
    assert "to mend: sysctl net.ipv4.ip_local_port_range='32768 60999'" in str(caught.value)
