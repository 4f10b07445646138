"""The chain of WAL that a drill may use: unbroken from the backup on, and its first gap named."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "roles" / "drill" / "files"))

from turnout_drill.wal import chain, lsn_number, lsn_text, segment_name, segment_number

MB = 1 << 20
SIZES = st.sampled_from([1 * MB, 16 * MB, 64 * MB, 1024 * MB])
STORED = "-" + "a" * 40 + ".zst"


@given(st.integers(0, 2**63 - 1))
def test_an_lsn_is_read_as_it_is_written(position: int) -> None:
    assert lsn_number(lsn_text(position)) == position


@given(st.integers(0, 2**31), SIZES, st.integers(1, 0xFFFFFFFF))
def test_a_segment_is_read_as_it_is_named(number: int, size: int, timeline: int) -> None:
    number %= (2**32) * (2**32 // size)
    assert segment_number(segment_name(timeline, number, size), size) == number


@given(SIZES, st.integers(0, 5000), st.integers(1, 40), st.sets(st.integers(0, 40)))
def test_the_chain_ends_before_the_first_gap_and_names_it(size: int, first: int, length: int, gone: set[int]) -> None:
    held = [segment_name(1, first + i, size) + STORED for i in range(length) if i not in gone]
    found = chain(segment_name(1, first, size), held, size)
    unbroken = next((i for i in range(length) if i in gone), length)
    assert found.last == first + unbroken - 1
    assert set(found.names) == {segment_name(1, first + i, size) for i in range(unbroken)}
    later = any(i not in gone for i in range(unbroken, length))
    if later or unbroken == 0:
        assert found.missing == segment_name(1, first + unbroken, size)
    else:
        assert found.missing is None


def test_history_files_are_kept_and_older_segments_are_not() -> None:
    size = 16 * MB
    held = [segment_name(1, number, size) + STORED for number in (3, 4, 5)] + ["00000002.history", "x.backup"]
    held += [segment_name(2, 5, size) + STORED, segment_name(2, 6, size) + STORED]
    found = chain(segment_name(1, 4, size), held, size)
    assert (found.first, found.last, found.missing) == (4, 6, None)
    assert "00000002.history" in found.names
    assert segment_name(1, 3, size) not in found.names


def test_a_replay_reached_the_chains_end_only_inside_its_last_segment() -> None:
    size = 16 * MB
    found = chain(segment_name(1, 4, size), [segment_name(1, number, size) + STORED for number in (4, 5)], size)
    assert found.ends_in_last(5 * size + 1)
    assert found.ends_in_last(6 * size)  # a switched segment ends where the next begins
    assert not found.ends_in_last(5 * size)
    assert not found.ends_in_last(6 * size + 1)


def test_the_segment_where_a_replay_ended_is_named() -> None:
    size = 16 * MB
    held = [segment_name(1, 4, size) + STORED, segment_name(1, 5, size) + STORED, segment_name(2, 5, size) + STORED]
    found = chain(segment_name(1, 4, size), [*held, "00000002.history"], size)
    assert found.name_at(5 * size + 7) == segment_name(2, 5, size)
    assert found.name_at(9 * size) is None
