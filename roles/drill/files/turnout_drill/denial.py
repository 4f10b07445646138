"""Whether a storage said no, or said nothing of the kind. Pure."""

from __future__ import annotations

import re

# What pgBackRest passes on where the storage itself refuses: the answers of S3 and Azure, of GCS, and the errors of a
# file system (EACCES, EROFS, EPERM), which a repository host passes on too. A wrong signature, a key that nobody knows,
# a clock that is off, a full disk, a time-out are not among them: with those nothing is known of what is allowed.
_DENIALS = (
    re.compile(r"failed with 403\b.*<Code>(AccessDenied|AuthorizationPermissionMismatch)</Code>", re.DOTALL),
    re.compile(r"failed with 403\b.*does not have storage\.\S+ access", re.DOTALL),
    re.compile(
        r"unable to (open file '[^']*' for write|create path '[^']*'|remove '[^']*'): "
        r"\[(13\] Permission denied|30\] Read-only file system|1\] Operation not permitted)"
    ),
)


def is_denial(said: str) -> bool:
    """Tell whether pgBackRest's words are those of a storage that does not let these credentials write."""
    return any(pattern.search(said) for pattern in _DENIALS)


def is_of_a_file_system(said: str) -> bool:
    """Tell whether a denial to write is one that denies to delete there too: both need the folder to be writable."""
    return is_denial(said) and re.search(r": \[(13|30)\] ", said) is not None


def could_not_be_asked(said: str) -> bool:
    """Tell whether pgBackRest failed before it asked anybody, as `repo-rm` of 2.55 does with a repository host."""
    return said.lstrip().startswith("ASSERT: [025]")
