"""Signals that arrive before the event loop runs must not kill the process.

The default action of SIGUSR1 is death, and a deployment may send it the moment systemd
calls the unit started: long before the slow imports are over. `catch` is therefore
called first, and what it caught is handed over once there is a loop.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

_early: list[int] = []


def catch(*signals: signal.Signals) -> None:
    """Remember these signals instead of dying of them."""
    for one in signals:
        signal.signal(one, lambda number, _frame: _early.append(number))


def hand_over(handlers: dict[signal.Signals, Callable[[], None]]) -> None:
    """Install the handlers in the running loop, and call those whose signal came early."""
    import asyncio  # noqa: PLC0415 - a tenth of a second, in which a signal may come

    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    for number in _early:
        if number in handlers:
            handlers[signal.Signals(number)]()
    _early.clear()
