"""Whether this Python has what asks acceptance packs."""

from __future__ import annotations

import importlib.util

from turnout.errors import TurnoutError

EXTRA = "pip install 'turnout[acceptance]'"


def see_extra(package: str = "schemathesis") -> None:
    """Raise `TurnoutError` where the package is missing that questions are asked with."""
    if importlib.util.find_spec(package) is None:
        raise without(package)


def without(package: str | None) -> TurnoutError:
    """Return the error of a Python that has no such package."""
    return TurnoutError(
        "acceptance-extra",
        observed=f"the Python of turnout has no package {package}",
        expected="the packages that ask acceptance packs",
        remedy=EXTRA,
    )
