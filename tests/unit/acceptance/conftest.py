"""One desk for all tests of the packs that are asked of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from desk import Desk, Worker


@pytest.fixture(scope="session")
def the_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    desk = Desk(str(tmp_path_factory.mktemp("desk") / "desk.db"))
    thread = threading.Thread(target=desk.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield desk
    desk.shutdown()
    desk.server_close()
    thread.join(5)


@pytest.fixture
def desk(the_desk: Desk) -> Iterator[Desk]:
    yield the_desk
    the_desk.mutants = frozenset()


@pytest.fixture
def worker(desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("worker"), desk.file)
    yield worker
    worker.stop()
