"""Finds what a release is asked in the cage: its packs, and the document of the release in service."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from turnout.acceptance.carried import carried
from turnout.acceptance.declared import COMPATIBLE
from turnout.acceptance.extra import see_extra
from turnout.acceptance.load import FILE, load
from turnout.counts import counted
from turnout.errors import TurnoutError
from turnout.release.manifest import TARBALL


@dataclass(frozen=True)
class Carrier:
    """A release with its artifact on this machine."""

    artifact: Path
    kind: str
    version: str


@dataclass(frozen=True)
class Packs:
    """What is asked: `packs` in the release's `folder`, with `document`, a file, of the release in service.

    `declared` is false where the release declares nothing. `seconds` bounds the asking. `told` is for a person.
    """

    declared: bool
    told: str
    folder: str = ""
    packs: tuple[str, ...] = ()
    document: str = ""
    seconds: float = 0.0
    questions_sha256: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as the results of tasks have it."""
        return {**asdict(self), "packs": list(self.packs)}


def find(
    candidate: Carrier,
    stable: Carrier | None,
    folder: Path,
    *,
    packs: Path | None = None,
    stable_document: Path | None = None,
) -> Packs:
    """Return what a release is asked. What is taken out of artifacts lies in `folder` then.

    `packs` is the folder that has the candidate's `acceptance/`, for an image; `stable_document` a file that stands for
    what the release in service carries. Raises `TurnoutError`.
    """
    place = folder / "release"
    if packs is not None:
        place = packs
    elif candidate.kind == TARBALL:
        carried(candidate.artifact, place)
    else:
        return Packs(declared=False, told=_image(candidate))
    questions = load(place) if place.is_dir() else None
    if questions is None:
        if packs is not None:
            raise TurnoutError(
                "acceptance-missing",
                observed=f"{packs} has no {FILE}",
                expected="the folder that the release was built from, with its acceptance packs",
                remedy="-e packs=FOLDER with that folder, or without it where the release declares none",
            )
        return Packs(
            declared=False,
            told=f"{candidate.version}: this release declares no packs, so that nothing is asked of it; {FILE} in its "
            "folder declares them (docs/acceptance.md)",
        )
    see_extra()
    declared = questions.declared
    asked, document, notes = declared.packs, "", ""
    if COMPATIBLE in asked and stable is None:
        asked = tuple(pack for pack in asked if pack != COMPATIBLE)
        notes = f"; not {COMPATIBLE}: nothing is in service yet that clients could rely on"
    elif COMPATIBLE in asked and stable is not None:
        document = str(stable_document or "") or _document(stable, folder / "stable", declared.document)
        notes = f"; {COMPATIBLE} with {stable.version}" + (
            "" if document else ", which carries no document: not known without -e stable_document=FILE"
        )
    return Packs(
        declared=True,
        told=f"{candidate.version} is asked {', '.join(asked) or 'nothing'}: "
        f"{counted(len(questions.document.operations), 'operation')}, at most {declared.budget.requests} requests in "
        f"{declared.budget.seconds} s{notes}",
        folder=str(place),
        packs=asked,
        document=document,
        seconds=float(declared.budget.seconds),
        questions_sha256=questions.sha256,
    )


def _document(stable: Carrier, folder: Path, also: str) -> str:
    """Return the file of stable's document: the one that it declares, else one where the candidate has its own."""
    if stable.kind != TARBALL:
        return ""
    found = carried(stable.artifact, folder, also=also)
    return str(folder / found) if found else ""


def _image(candidate: Carrier) -> str:
    return (
        f"{candidate.version} is an image, and an image's artifact carries no packs, so that nothing is asked of it; "
        "-e packs=FOLDER names the folder that it was built from"
    )
