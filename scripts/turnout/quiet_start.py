"""Imported first: until the command line is up, Ctrl-C ends it without a word, where Python would print a traceback."""

from __future__ import annotations

import signal
import threading

if threading.current_thread() is threading.main_thread() and (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler  # where it is ignored, it stays so
):
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def over() -> None:
    """Let Ctrl-C be an exception again: commands clean up by it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
