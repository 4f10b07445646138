"""Whether a migration was reviewed: an approved pull request that brought it, or a signed statement."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from turnout.errors import TurnoutError
from turnout.forge.model import Review
from turnout.migrations.files import MigrationFile
from turnout.migrations.find import INSIDE_FOLDER
from turnout.release.schema import Migration
from turnout.release.sign import verify

NAMESPACE = "turnout-migration-review"


def statement(migration: Migration) -> bytes:
    """Return the text that a reviewer signs: this migration, with this content, and nothing else.

    `ssh-keygen -Y sign -n turnout-migration-review -f KEY FILE` signs it.
    """
    return f"reviewed migration {migration.id} sha256 {migration.sha256}\n".encode()


def by_statement(
    migration: Migration, folder: Path | None, signers: Path | None, revoked: Path | None = None
) -> tuple[bool, str]:
    """Return (whether a signed statement counts, in words). The statement is computed, never read: only the
    signature (`<id>.sig` in `folder`) comes from the file."""
    if folder is None or signers is None:
        return False, "no signed statements are configured"
    path = folder / f"{migration.id}.sig"
    try:
        signature = path.read_bytes()
    except OSError:
        return False, f"no signed statement {path.name}"
    try:
        signer = verify(
            statement(migration),
            signature,
            signers,
            what=f"the review of {migration.id}",
            namespace=NAMESPACE,
            revoked_signers=revoked,
        )
    except TurnoutError as error:
        return False, error.observed
    return True, f"signed by {signer.principal}"


def by_pull_request(reviews: list[Review]) -> tuple[bool, str]:
    """Return (whether an approved, merged pull request brought it, in words)."""
    if not reviews:
        return False, "no pull request brought it"
    for review in reviews:
        if review.merged and review.approved_by:
            return True, f"pull request {review.pull_request}, approved by {', '.join(review.approved_by)}"
    last = reviews[-1]
    why = "is not merged" if not last.merged else "has a stale approval only" if last.stale else "has no approval"
    if last.merged and last.passed_over:
        why += f"{'' if last.stale else ' that counts'} ({', '.join(last.passed_over)})"
    return False, f"pull request {last.pull_request} of {last.author} {why}"


def changed(earlier: dict[str, str], migration: Migration) -> str | None:
    """Return what is wrong where an earlier release carried the same migration with another content, or None.

    `earlier` maps a migration's id to its sha256 in the manifest of the release in service.
    """
    known = earlier.get(migration.id)
    if known is None or known == migration.sha256:
        return None
    return f"its content changed since the release in service (sha256 {known[:12]}, now {migration.sha256[:12]})"


def paths_in_repository(file: MigrationFile, folder: str) -> list[str]:
    """Return where the file may lie in the repository: below the configured folder first, then as the artifact has it.

    What of them is the file its checksum tells.
    """
    path = PurePosixPath(file.path).parts
    wanted = PurePosixPath(folder).parts
    tail = 2 if path[-1] in INSIDE_FOLDER else 1
    below = path[-tail:]
    for start in range(len(wanted)):
        part = wanted[start:]
        place = next((at for at in range(len(path)) if path[at : at + len(part)] == part), None)
        if place is not None:
            below = path[place + len(part) :]
            break
    found = ["/".join((*wanted, *below)), *("/".join(path[start:]) for start in range(len(path)))]
    return list(dict.fromkeys(found))
