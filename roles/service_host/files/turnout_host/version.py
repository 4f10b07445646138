"""What this program is, for runs that meet it: the version that laid it, and the language that it speaks."""

from __future__ import annotations

# The role that lays this file writes in the version of galaxy.yml. A program without this file is of before 0.3.0.
VERSION = ""
# What the modules turnout.ops.units and turnout.ops.slot use of it. Grows when a deploy could not work with a host of
# before; turnout.programs says which numbers a controller can work with.
PROTOCOL = 1
