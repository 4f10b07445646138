"""What this edge tells its peers, and what it heard of them: two small files, read as values."""

from __future__ import annotations

from .resolve import Word
from .shapes import FORMAT, Unreadable, decode_object, is_newer, is_number
from .state import State, is_handover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Json

FRESH_S = 3.0  # what was heard longer ago says nothing of now
LINE_LIMIT = 8192  # bytes; a peer that says more than this at once says nothing


def told(state: State, lease: Json, boot: float) -> Json:
    """Return what a peer may know of this edge: where its users are, and its last word about a run."""
    return {
        "format": FORMAT,
        "service": state.service,
        "stable": state.stable,
        "release": state.release_name(state.stable) if state.stable else None,
        "candidate": state.candidate,
        "share_bp": state.share_bp,
        "serving": state.serving_bp(),
        "since": state.since,
        "handover": state.handover,
        "lease_armed": bool(lease.get("armed")),
        "boot": boot,
    }


def read_object(raw: bytes | None) -> Json:
    """Return a JSON object; an empty one for anything else."""
    try:
        return decode_object(raw) if raw else {}
    except Unreadable:
        return {}


def heard(raw: bytes | None, name: str, service: str, boot: float) -> Json | None:
    """Return what a peer said within the last seconds, out of the file of all peers; None where it did not."""
    peers = read_object(raw).get("peers")
    entry = peers.get(name) if isinstance(peers, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("said"), dict):
        return None
    at = entry.get("boot")
    if not isinstance(at, int | float) or not is_number(at) or not -1.0 <= boot - at <= FRESH_S:
        return None
    said: Json = entry["said"]
    return said if said.get("service") == service and not is_newer(said) else None


def word_of(said: Json | None, run: str | None) -> Word | None:
    """Return a peer's last word about a run; None for a peer that is not heard."""
    if said is None:
        return None
    word = said.get("handover")
    if not is_handover(word) or word["run"] != run:
        return Word(None)
    return Word(word["stage"], word.get("sure") is True, word.get("confirmed") is True)
