"""What a command is asked: by whom, in which run, with which options."""

from __future__ import annotations

from .errors import EXIT_USAGE, Trouble
from .shapes import Unreadable, decode_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import Json


class Who:
    """Who asks: recorded with everything that is done."""

    def __init__(self, run: str | None, actor: str, phase: str | None = None, dry_run: bool = False) -> None:
        self.run = run
        self.actor = actor
        self.phase = phase
        self.dry_run = dry_run


def read_json(text: str, option: str) -> Json:
    """Return the JSON object that an option holds; raises Trouble."""
    try:
        return decode_object(text.encode(errors="surrogateescape"))
    except (Unreadable, UnicodeEncodeError) as fault:
        seen = f"{option} is no JSON that can be read back: {as_characters(str(fault))[:200]}"
        raise Trouble("json", EXIT_USAGE, seen, "a JSON object", "mend it") from fault


def as_characters(text: str) -> str:
    """Return a word of the command line as it can be written: bytes that are no UTF-8 become question marks."""
    return text.encode(errors="replace").decode()


def split_names(text: str) -> list[str]:
    """Return the names in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def required_run(who: Who) -> str:
    """Return the run's id; refuse without one."""
    if who.run is None:
        raise Trouble("no-run", EXIT_USAGE, "no --run was given", "the run's id", "--run ID")
    return who.run
