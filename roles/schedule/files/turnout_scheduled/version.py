"""Which Turnout laid this program."""

from __future__ import annotations

# The role that lays this file writes in the version of galaxy.yml. A program without this file is of before 0.3.0.
VERSION = ""
