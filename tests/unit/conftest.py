"""What all tests of the core share."""

from __future__ import annotations

from hypothesis import settings

# How long one example takes says nothing on a busy machine; bounds on time are tests of their own.
settings.register_profile("turnout", deadline=None)
settings.load_profile("turnout")
