"""What all tests of the core share."""

from __future__ import annotations

import os

from hypothesis import settings

# How long one example takes says nothing on a busy machine; bounds on time are tests of their own. `make test` draws
# the same examples each time, so that it passes or fails by the change that it is run for; `make unit` and pytest by
# itself look for new ones.
settings.register_profile("turnout", deadline=None, derandomize=bool(os.environ.get("TURNOUT_SAME_EXAMPLES")))
settings.load_profile("turnout")
