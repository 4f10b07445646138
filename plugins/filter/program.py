"""A filter that writes this collection's version into a program before it is laid on a host."""

from __future__ import annotations

import pathlib

from turnout.command.versions import version_in

BLANK = 'VERSION = ""\n'
HERE = pathlib.Path(__file__).parents[2]  # the collection that this file belongs to


def versioned(files):
    """Return a program's files with the version of this collection in version.py."""
    version = version_in(HERE) or ""
    text = files["version.py"]
    return {**files, "version.py": text.replace(BLANK, f'VERSION = "{version}"\n')}


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {"versioned": versioned}
