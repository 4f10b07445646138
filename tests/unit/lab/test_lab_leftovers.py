"""What is read from the processes that watch over containers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from turnout.lab.leftovers import Monitor, monitor_of

CONMON = (
    b"/usr/bin/conmon\0--api-version\x001\0-c\0abc123\0-u\0abc123\0-r\0/usr/bin/runc\0-b\0/var/x\0"
    b"-n\0turnout-edge1\0--exit-dir\0/run/libpod/exits\0"
)


def test_a_monitor_names_its_container_and_its_runtime() -> None:
    assert monitor_of(CONMON) == Monitor("abc123", "turnout-edge1", "/usr/bin/runc")


def test_another_program_is_no_monitor_even_with_the_same_words() -> None:
    assert monitor_of(CONMON.replace(b"/usr/bin/conmon", b"/usr/bin/grep")) is None


def test_a_monitor_that_names_no_container_is_left_alone() -> None:
    assert monitor_of(CONMON.replace(b"-n\0turnout-edge1\0", b"")) is None


@given(st.binary(max_size=200))
def test_whatever_a_process_calls_itself_it_is_read(cmdline: bytes) -> None:
    monitor_of(cmdline)
    monitor_of(b"conmon\0" + cmdline)
