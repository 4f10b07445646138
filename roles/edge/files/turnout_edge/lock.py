"""The lock, its fencing number and the lease as values, and what the clocks say of them."""

from __future__ import annotations

from .errors import EXIT_LOCKED, EXIT_USAGE, Trouble
from .shapes import is_count, lies_ahead

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Json


def mark_age_s(mark: Json, now: Json) -> float:
    """Return the seconds between two marks ({wall, boot, boot_id}), whatever was done to the wall clock.

    In the same boot the clock that nobody sets decides. After a reboot the wall clock is all there is, but
    the mark is at least as old as the machine has been up.
    """
    if mark["boot_id"] == now["boot_id"]:
        return max(0.0, float(now["boot"]) - float(mark["boot"]))
    return max(float(now["wall"]) - float(mark["wall"]), float(now["boot"]))


def lock_is_fresh(holder: Json, now: Json) -> bool:
    """Tell whether the lock's holder has shown itself within its time to live."""
    if lies_ahead(holder["beat"], now):
        return False
    return mark_age_s(holder["beat"], now) <= float(holder["ttl_s"])


def lease_has_run_out(lease: Json, now: Json) -> bool:
    """Tell whether an armed lease is over; one from before a reboot, or an unreadable one, always is."""
    if not lease.get("armed"):
        return False
    if "renewed" not in lease:
        return True
    mark = lease["renewed"]
    if mark["boot_id"] != now["boot_id"] or lies_ahead(mark, now):
        return True
    return mark_age_s(mark, now) > float(lease["lease_s"])


def read_fence(value: object) -> int | None:
    """Return a fencing number, or None for anything else."""
    return value if isinstance(value, int) and is_count(value) else None


def parse_fence(raw: bytes | None) -> int | None:
    """Return the number that the fence's own file holds; None where there is none or it cannot be read."""
    text = (raw or b"").strip()
    return int(text) if text.isdigit() and len(text) < 19 else None


def format_fence(fence: int) -> bytes:
    """Return the fence's own file."""
    return b"%d\n" % fence


def fence_of(lock: Json, run: str) -> int:
    """Return the number that `run` has as the lock's holder: its own, or the next one for one that takes the lock."""
    holder = lock["holder"]
    own = read_fence(holder.get("fence")) if holder is not None and holder["run"] == run else None
    return int(lock["fence"]) + 1 if own is None else own


def check_lock(lock: Json, run: str | None, now: Json) -> Json:
    """Return the lock's holder when it is `run`; refuse otherwise."""
    holder: Json | None = lock["holder"]
    if run is None:
        raise Trouble("no-run", EXIT_USAGE, "no --run was given", "the id of the run that holds the lock", "--run ID")
    if holder is not None and holder["run"] == run:
        return holder
    raise Trouble(
        "lock",
        EXIT_LOCKED,
        f"the lock is not held by run {run}: " + describe_lock(lock, now),
        "the lock, taken by this run",
        f"turnout-edge lock take --run {run} --owner NAME --purpose TEXT",
    )


def describe_lock(lock: Json, now: Json) -> str:
    """Return who holds or last held the lock, for a person."""
    holder = lock["holder"]
    if holder is not None:
        age_s = mark_age_s(holder["beat"], now)
        return (
            f"held by run {holder['run']} ({holder['purpose']}, {holder['owner']}, pid {holder['pid']}), "
            f"last sign of life {age_s:.0f} s ago, time to live {holder['ttl_s']:g} s"
        )
    last = lock.get("last")
    if last is None:
        return "nobody holds it"
    ended = f"{last['ended']} at {last['ended_at']}"
    return f"nobody holds it; run {last['run']} ({last['owner']}) held it last: {ended}"
