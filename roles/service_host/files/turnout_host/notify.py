"""What a program tells systemd of itself (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def tell(text: str) -> None:
    """Tell systemd, such as `READY=1`; nothing where it does not listen. Raises OSError."""
    place = os.environ.get("NOTIFY_SOCKET")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.connect(place.replace("@", "\0", 1))
            connection.send(text.encode())
