"""How the paths of routes are written that the edges count answers by."""

SEGMENT = r"[A-Za-z0-9._~:@,=+-]*"
"""One part of a path that stands for itself (a regular expression): what HAProxy's configuration takes as it is."""
