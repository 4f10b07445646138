"""What the small files on this edge must look like. A power cut, a full disk or a hand may have left anything.

Pure: bytes in, a value of the right shape out, or the safe case: a lock that cannot be read is nobody's, a lease that
cannot be read is armed and over.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Json


FORMAT = 1  # of every file that this program keeps; one without a number is of format 1
LARGEST_BYTES = 4_000_000  # of a file that is read as one value; what is larger is not ours
LATEST_WALL_S = 250_000_000_000.0  # the year 9892: what a person can be shown
LONGEST_S = 1e9
LONGEST_LEASE_S = 86_400.0
OVER: Json = {"armed": True}


class Unreadable(ValueError):
    """A file's bytes are not what this program wrote."""


def no_constant(word: str) -> object:
    """Refuse NaN and Infinity, which are no JSON."""
    raise Unreadable(f"{word} is no JSON")


def decode(raw: bytes) -> object:
    """Return the JSON value that a file holds, which can be written again; raises Unreadable."""
    if len(raw) > LARGEST_BYTES:
        raise Unreadable(f"it has more than {LARGEST_BYTES} bytes")
    try:
        value = json.loads(raw, parse_constant=no_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as fault:
        raise Unreadable(str(fault)) from fault
    return value


def decode_object(raw: bytes) -> Json:
    """Return the JSON object that a file holds; raises Unreadable."""
    value = decode(raw)
    if not isinstance(value, dict):
        raise Unreadable("it is not a JSON object")
    return value


def format_of(value: object) -> int | None:
    """Return the number of a file's format, which one of before there were numbers lacks; None for what is none."""
    number = value.get("format", 1) if isinstance(value, dict) else 1
    return number if isinstance(number, int) and is_count(number) and number else None


def is_newer(value: object) -> bool:
    """Tell whether a file says that it is of a format that this program does not know."""
    return (format_of(value) or 1) > FORMAT


def is_number(value: object, least: float = 0.0, most: float = LONGEST_S) -> bool:
    """Tell whether a value is a finite number within bounds (true and false are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def is_count(value: object) -> bool:
    """Tell whether a value is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def is_mark(value: object) -> bool:
    """Tell whether a value is a moment as Clock.mark gives it."""
    return (
        isinstance(value, dict)
        and is_number(value.get("wall"), most=LATEST_WALL_S)
        and is_number(value.get("boot"))
        and isinstance(value.get("boot_id"), str)
    )


def is_holder(value: object) -> bool:
    """Tell whether a value is a lock's holder."""
    return (
        isinstance(value, dict)
        and all(isinstance(value.get(key), str) for key in ("run", "owner", "purpose"))
        and isinstance(value.get("pid"), int)
        and is_number(value.get("ttl_s"))
        and is_mark(value.get("taken"))
        and is_mark(value.get("beat"))
    )


def is_last_holder(value: object) -> bool:
    """Tell whether a value is what is remembered of a lock's last holder."""
    keys = ("run", "owner", "purpose", "ended", "ended_at")
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in keys)


def read_lock(raw: bytes | None) -> Json:
    """Return the lock: {holder, last} and what else it carries. What is unreadable of it is nobody's.

    A newer format is read as far as it looks like this one: whoever wrote it holds it.
    """
    try:
        lock = decode_object(raw) if raw is not None else {}
    except Unreadable:
        lock = {}
    holder, last = lock.get("holder"), lock.get("last")
    lock.pop("format", None)
    return {
        **lock,
        "holder": holder if is_holder(holder) else None,
        "last": last if is_last_holder(last) else None,
    }


def read_lease(raw: bytes | None) -> Json:
    """Return the lease: {armed, run, lease_s, renewed}; one that cannot be read is armed and over.

    A newer format is read as far as it looks like this one.
    """
    if raw is None:
        return {"armed": False}
    try:
        lease = decode_object(raw)
    except Unreadable:
        return dict(OVER)
    lease.pop("format", None)
    if lease.get("armed") is False:
        return lease
    sound = (
        lease.get("armed") is True
        and isinstance(lease.get("run"), str)
        and is_number(lease.get("lease_s"), most=LONGEST_LEASE_S)
        and is_mark(lease.get("renewed"))
    )
    return lease if sound else dict(OVER)


def lies_ahead(mark: Json, now: Json) -> bool:
    """Tell whether a moment of this boot is still to come, which nothing that was ever written can be."""
    return bool(mark["boot_id"] == now["boot_id"]) and float(mark["boot"]) > float(now["boot"]) + 1.0
