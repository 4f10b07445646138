"""The chain of WAL that a drill may use: unbroken from the backup on, and its first gap named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from turnout_drill.wal import (
    Span,
    chain,
    lineage,
    lsn_number,
    lsn_text,
    newest_timeline,
    segment_name,
    segment_number,
)

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
    found = chain(segment_name(1, 4, size), held, size, (Span(1, 0, 5 * size + 9), Span(2, 5 * size + 9, None)))
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
    spans = (Span(1, 0, 5 * size + 3), Span(2, 5 * size + 3, None))
    found = chain(segment_name(1, 4, size), [*held, "00000002.history"], size, spans)
    assert found.name_at(5 * size + 7) == segment_name(2, 5, size)
    assert found.name_at(9 * size) is None


# As PostgreSQL writes it, after two restores.
HISTORY = '1\t1/18000110\tbefore 2026-11-25 13:58:23+00\n\n2\t1/1B0000A0\tat restore point "before-1.1.0"\n'


def test_a_history_file_says_whose_each_stretch_is() -> None:
    left = lsn_number("1/18000110"), lsn_number("1/1B0000A0")
    assert lineage(3, HISTORY) == (Span(1, 0, left[0]), Span(2, *left), Span(3, left[1], None))
    assert lineage(1, "") == (Span(1, 0, None),)


def test_the_newest_timeline_is_the_last_without_a_gap() -> None:
    held = ["00000002.history", "00000003.history", "00000005.history"]
    assert [newest_timeline(timeline, held) for timeline in (1, 2, 3, 4)] == [3, 3, 3, 5]
    assert newest_timeline(1, []) == 1


def test_what_an_abandoned_timeline_wrote_after_it_was_left_is_passed_over() -> None:
    """The cluster that a restore replaced wrote on for a while, further than the new one has come yet."""
    size = 16 * MB
    spans = lineage(3, HISTORY)
    at = spans[2].begin // size
    held = [segment_name(1, number, size) for number in range(spans[0].end // size - 2, spans[0].end // size + 3)]
    held += [segment_name(2, number, size) for number in range(spans[1].begin // size, at + 6)]
    held += [segment_name(3, number, size) for number in (at, at + 1, at + 2)]
    held = [name + STORED for name in held] + ["00000002.history", "00000003.history"]
    found = chain(segment_name(2, at - 1, size), held, size, spans)
    assert (found.last, found.missing) == (at + 2, None)
    assert segment_name(2, at + 1, size) not in found.names
    assert found.name_at(at * size) == segment_name(3, at, size)
    # One that is missing on the timeline that counts is missing, though an abandoned one has its number.
    gap = segment_name(3, at + 1, size)
    found = chain(segment_name(2, at - 1, size), [n for n in held if not n.startswith(gap)], size, spans)
    assert (found.last, found.missing) == (at, gap)


def test_a_timeline_that_was_left_at_a_segments_first_byte_owns_nothing_of_that_segment() -> None:
    """A restore to the end of the archive forks there, and the old server has written a segment of that number too."""
    size = 16 * MB
    spans = (Span(3, 0, 5 * size), Span(4, 5 * size, None))
    old = [segment_name(3, number, size) + STORED for number in (4, 5, 6)] + ["00000004.history"]
    found = chain(segment_name(3, 4, size), old, size, spans)
    assert (found.last, found.missing) == (4, None)
    assert found.ends_in_last(5 * size), "all that there is of the new timeline was replayed"
    found = chain(segment_name(3, 4, size), [*old, segment_name(4, 5, size) + STORED], size, spans)
    assert (found.last, found.missing) == (5, None)
    assert segment_name(3, 5, size) not in found.names


def test_where_the_new_timelines_segment_is_not_there_yet_the_old_one_is_cut_where_it_was_left() -> None:
    """PostgreSQL takes the older file then, and would replay what the cluster that was restored away wrote on."""
    size = 16 * MB
    left = 5 * size + 0x9E18
    spans = (Span(2, 0, left), Span(3, left, None))
    held = [segment_name(2, number, size) + STORED for number in (4, 5, 6, 7)] + ["00000003.history"]
    found = chain(segment_name(2, 4, size), held, size, spans)
    assert (found.last, found.missing, found.cut, found.end) == (5, None, left, left)
    assert set(found.names) == {segment_name(2, 4, size), segment_name(2, 5, size), "00000003.history"}
    assert found.ends_in_last(left)
    assert not found.ends_in_last(left + 8), "a record of the abandoned cluster"
    # Once it is there, it alone: it begins with a copy of what the old one wrote until then.
    found = chain(segment_name(2, 4, size), [*held, segment_name(3, 5, size) + STORED], size, spans)
    assert (found.last, found.missing, found.cut) == (5, None, None)
    assert segment_name(2, 5, size) not in found.names
    # Later ones without it: a gap, and what is missing is the new timeline's.
    found = chain(segment_name(2, 4, size), [*held, segment_name(3, 6, size) + STORED], size, spans)
    assert found.missing == segment_name(3, 5, size)


def test_a_timeline_that_was_left_where_it_began_owns_nothing() -> None:
    """A restore of such a cut chain ends where the timeline began whose WAL had not arrived; later it arrives."""
    size = 16 * MB
    left = 5 * size + 0x9E18
    spans = (Span(2, 0, left), Span(3, left, left), Span(4, left, None))
    held = [segment_name(2, 5, size) + STORED, segment_name(3, 5, size) + STORED, segment_name(3, 6, size) + STORED]
    held += ["00000003.history", "00000004.history"]
    found = chain(segment_name(2, 5, size), held, size, spans)
    assert (found.last, found.missing, found.cut) == (5, None, left)
    assert segment_name(2, 5, size) in found.names
    assert segment_name(3, 5, size) not in found.names


@given(
    forks=st.lists(st.integers(0, 6 * MB), min_size=1, max_size=4).map(sorted),
    held=st.sets(st.tuples(st.integers(1, 5), st.integers(0, 7))),
)
def test_no_byte_of_an_abandoned_stretch_is_ever_replayed(forks: list[int], held: set[tuple[int, int]]) -> None:
    size = MB
    begins = [0, *forks]
    spans = tuple(
        Span(index + 1, begin, begins[index + 1] if index + 1 < len(begins) else None)
        for index, begin in enumerate(begins)
    )
    names = [segment_name(timeline, number, size) + STORED for timeline, number in held]
    found = chain(segment_name(1, 0, size), names, size, spans)
    given_out = (
        sorted(int(name[:8], 16) for name in found.names),
        sorted(segment_number(name, size) for name in found.names),
    )
    assert given_out[1] == list(range(found.last + 1)), "one file for each segment, none left out"
    for name in found.names:
        timeline, number = int(name[:8], 16), segment_number(name, size)
        end = min((number + 1) * size, found.end)
        # Up to its end, what a file holds is its own timeline's, or a copy of what came before it.
        left = spans[timeline - 1].end
        assert left is None or end <= left
