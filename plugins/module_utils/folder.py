# Copyright (c) The Turnout authors
# SPDX-License-Identifier: Apache-2.0
"""A folder whose text files a module owns."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping


def lay(folder: str, texts: Mapping[str, str], written: Iterable[str], removed: Iterable[str]) -> None:
    """Write and remove; a file is never seen half written, nor read under its temporary name. Raises OSError."""
    for name in written:
        temporary = os.path.join(folder, f".{name}.new")
        with open(temporary, "w", encoding="utf-8") as stream:
            stream.write(texts[name])
        os.chmod(temporary, 0o644)
        os.rename(temporary, os.path.join(folder, name))
    for name in removed:
        os.unlink(os.path.join(folder, name))
