"""The load generator, against a server in this process and against none."""

import asyncio
import json
import random
import zlib
from pathlib import Path

import pytest
from load import mix as mixes
from load.http1 import Answer
from load.load import Load, LoadConfig, LoadError, Run, config_of, parse, split_address


class Service:
    """A server that answers `/up`, and does worse at other paths."""

    def __init__(self) -> None:
        self.connections = 0
        self.authorizations: set[str] = set()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                for line in head.split("\r\n"):
                    if line.startswith("Authorization: "):
                        self.authorizations.add(line.removeprefix("Authorization: "))
                path = head.split()[1]
                if path == "/hole":
                    break
                status = "500 No" if path == "/bad" else "200 OK"
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Length: 2\r\nX-Release: 1.0.0\r\n"
                    "X-Turnout-Color: blue\r\n\r\nok".encode()
                )
                if "Connection: close" in head:
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def run(service: Service, mix: str, **options: object) -> Run:
    async def go() -> Run:
        server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        given = {"rate": 200.0, "seconds": 0.5, "authorization": "plain", "users": 5, **options}
        load = Load(LoadConfig(edges=(f"127.0.0.1:{port}",), mix=mixes.Mix.parse(mix), **given))  # type: ignore[arg-type]
        await load.prepare()
        await load.run()
        server.close()
        return Run(load.records, 0.0, 0.0)

    return asyncio.run(go())


def test_a_load_sends_at_its_rate_and_records_each_answer() -> None:
    service = Service()
    records = run(service, "get:/up=1", new_connections=0.0).records
    assert 60 < len(records) < 150
    assert {(r.status, r.color, r.release, r.error) for r in records} == {(200, "blue", "1.0.0", "")}
    assert service.authorizations == {f"Bearer load-user-{user}" for user in range(5)}
    assert service.connections < len(records) / 4  # connections are reused


def test_a_share_of_requests_opens_a_connection_of_its_own() -> None:
    service = Service()
    records = run(service, "get:/up=1", new_connections=1.0).records
    assert service.connections == len(records)
    assert all(record.fresh for record in records)


def test_whatever_is_not_2xx_or_not_whole_is_a_failure() -> None:
    found = run(Service(), "get:/up=1,get:/bad=1,get:/hole=1").summary()
    assert set(found["failures"]) == {"status-500", "closed-before-answer"}
    assert found["failed"] == sum(found["failures"].values())
    assert found["kinds"]["get:/up"]["failed"] == 0


def test_a_load_ends_when_it_is_told_to() -> None:
    async def go() -> float:
        service = Service()
        server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        config = LoadConfig(
            edges=(f"127.0.0.1:{port}",), seconds=600, mix=mixes.Mix.parse("get:/up=1"), authorization="none"
        )
        load = Load(config)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        loop.call_later(0.2, load.stopping.set)
        await load.run()
        server.close()
        return loop.time() - begun

    assert asyncio.run(go()) < 5


def test_users_that_cannot_log_in_are_an_error_that_tells_the_way_out() -> None:
    with pytest.raises(LoadError, match="--authorization plain"):
        run(Service(), "tasks=1", authorization="login")


@pytest.mark.parametrize("mix", ["", "tasks", "nonsense=1", "tasks=0", "tasks=x"])
def test_a_wrong_mix_is_refused(mix: str) -> None:
    with pytest.raises(ValueError):
        mixes.Mix.parse(mix)


@pytest.mark.parametrize(
    "options",
    [
        ["--rate", "0"],
        ["--seconds", "-1"],
        ["--seconds", "1e9"],
        ["--users", "0"],
        ["--new-connections", "2"],
        ["--header", "no colon"],
        ["--mix", "x=1"],
    ],
)
def test_a_wrong_option_is_named(options: list[str]) -> None:
    with pytest.raises(LoadError, match=options[0]):
        config_of(parse(["--edge", "h", *options]))


def test_an_address_has_port_80_unless_it_says_otherwise() -> None:
    assert split_address("10.77.0.11") == ("10.77.0.11", 80)
    assert split_address("10.77.0.11:8001") == ("10.77.0.11", 8001)
    with pytest.raises(LoadError):
        split_address("host:http")


def stream(lines: int) -> bytes:
    body = b"".join(f"{index} ...\n".encode() for index in range(lines))
    return body + f"end {lines} {zlib.crc32(body):08x}\n".encode()


def test_a_stream_is_right_only_when_all_of_it_came() -> None:
    whole = stream(5)
    assert mixes.check_stream(Answer(200, body=whole)) == ""
    assert mixes.check_stream(Answer(200, body=whole[:-12])) == "cut-stream"
    assert mixes.check_stream(Answer(200, body=whole.replace(b"3 ...\n", b""))) == "wrong-body"
    assert mixes.check_stream(Answer(200, body=b"")) == "cut-stream"


def test_an_echo_is_right_only_when_length_and_checksum_are() -> None:
    request = mixes.KINDS["echo"](random.Random(1), 0)  # noqa: S311
    right = {"bytes": len(request.body), "crc32": f"{zlib.crc32(request.body):08x}"}
    assert request.check(Answer(200, body=json.dumps(right).encode())) == ""
    assert request.check(Answer(200, body=json.dumps({**right, "bytes": 1}).encode())) == "wrong-body"


def test_the_ready_file_is_an_option_of_its_own() -> None:
    assert parse(["--edge", "h", "--ready-file", "x"]).ready_file == Path("x")
