"""The way into the cage for those who ask the candidate questions, and how long it stays open.

Two Unix sockets that only one user may use: `api` leads to the candidate's API, and whoever is connected to `held`
wants the cage to stay. So it ends with a controller that dies, whose connections end, and nobody else here may use it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time

from .isolation import Isolation, pump
from .place import Place

GREETING = b"held\n"
_CONNECT_S = 5.0


class Questions:
    """The sockets of one cage. `uid` is the user that may ask, `port` the API's inside the cage."""

    def __init__(self, place: Place, isolation: Isolation, port: int, uid: int) -> None:
        self.place, self.isolation, self.port, self.uid = place, isolation, port, uid
        self._holders = 0
        self._changed = threading.Condition()

    def open(self) -> None:
        """Make the sockets, and say where they are in the place's state."""
        folder = self.place.questions
        folder.mkdir(mode=0o700)
        os.chown(folder, self.uid, -1)
        paths = {}
        for name, serve in (("api", self._relay), ("held", self._hold)):
            path = folder / name
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(str(path))
            os.chown(path, self.uid, -1)
            path.chmod(0o600)
            listener.listen(128)
            threading.Thread(target=_accept, args=(listener, serve), daemon=True).start()
            paths[name] = str(path)
        self.place.say({**self.place.state(), "asking": paths})

    def wait(self, first_s: float, limit_s: float) -> str | None:
        """Return when everybody who held the cage has gone; return what is wrong where that is not how it ended.

        Nobody came within `first_s` seconds, or somebody stayed for more than `limit_s`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._holders > 0, first_s):
                return f"nobody came to ask within {first_s:g} s: the controller, or the way from it, is gone"
            if not self._changed.wait_for(lambda: self._holders == 0, limit_s):
                return f"the questions took longer than {limit_s:g} s"
        return None

    def _hold(self, caller: socket.socket) -> None:
        with self._changed:
            self._holders += 1
            self._changed.notify_all()
        try:
            with contextlib.suppress(OSError):
                caller.sendall(GREETING)
                while caller.recv(4096):
                    pass
        finally:
            caller.close()
            with self._changed:
                self._holders -= 1
                self._changed.notify_all()

    def _relay(self, near: socket.socket) -> None:
        try:
            far = self.isolation.inside(lambda: socket.create_connection(("127.0.0.1", self.port), _CONNECT_S))
        except OSError:
            near.close()
            return
        far.settimeout(None)
        back = threading.Thread(target=pump, args=(far, near), daemon=True)
        back.start()
        pump(near, far)
        back.join()
        near.close()
        far.close()


def _accept(listener: socket.socket, serve) -> None:  # type: ignore[no-untyped-def]
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:
            time.sleep(0.1)  # out of descriptors, for now
            continue
        threading.Thread(target=serve, args=(caller,), daemon=True).start()
