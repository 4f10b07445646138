"""What a later run of site.yml does to hosts in use: it mends drift, disturbs nobody, and tells no secret."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator

import pytest
import redis
from test_postgres import connect

# Collects every command line on the host until it is told to stop.
WATCHER = """
import os, pathlib, time
seen = set()
pathlib.Path("/tmp/verify-watch").touch()
while os.path.exists("/tmp/verify-watch"):
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            seen.add((folder / "cmdline").read_bytes())
        except OSError:
            pass
    time.sleep(0.05)
print(b"\\n".join(seen).replace(b"\\0", b" ").decode("utf-8", "replace"))
"""


def redis_as(lab, user: str, password: str) -> redis.Redis:
    return redis.Redis(host=lab.one("redis"), username=user, password=password, decode_responses=True)


def postgres_started_at(lab) -> object:
    with connect(lab, "readonly") as readonly:
        return readonly.execute("SELECT pg_postmaster_start_time()").fetchone()


@pytest.fixture
def put_back(run_site) -> Iterator[None]:
    yield
    run_site("postgres,redis")


@pytest.mark.usefixtures("put_back")
def test_a_run_on_hosts_in_use_mends_drift_disturbs_nobody_and_tells_no_secret(lab, run_site) -> None:
    (host,) = lab.groups["postgres"]
    app = f"{lab.database}_app"
    spoil = f"ALTER ROLE {app} CREATEDB; ALTER ROLE {app} RESET ALL; GRANT CONNECT ON DATABASE {lab.database} TO PUBLIC"
    lab.ssh(host, f'su postgres -c "psql -qc \\"{spoil}\\""')
    started_at = postgres_started_at(lab)
    session = connect(lab, "app")
    queue = redis_as(lab, "service", lab.redis_passwords["service"])
    redis_run = queue.info("server")["run_id"]
    new_passwords = {user: secrets.token_hex(24) for user in lab.redis_passwords}

    watched: list[str] = []
    watcher = threading.Thread(
        target=lambda: watched.append(lab.ssh(host, f"python3 - <<'EOF'\n{WATCHER}\nEOF", timeout_s=900).stdout)
    )
    watcher.start()
    try:
        output = run_site(
            "postgres,redis", "-vvv", "--diff", redis_passwords=new_passwords, postgres_max_connections=151
        )
    finally:
        lab.ssh(host, "rm -f /tmp/verify-watch")
        watcher.join()

    # Drift is mended.
    with connect(lab, "readonly") as readonly:
        assert readonly.execute("SELECT rolcreatedb FROM pg_roles WHERE rolname = %s", [app]).fetchone() == (False,)
        shown = readonly.execute(f"SELECT has_database_privilege('public', '{lab.database}', 'CONNECT')").fetchone()
        assert shown == (False,)
    # The one who was connected still is, and nothing was restarted; what waits for a restart is said.
    assert session.execute("SHOW max_connections").fetchone() != ("151",)
    assert postgres_started_at(lab) == started_at
    assert "PostgreSQL waits for a restart to apply max_connections" in output
    assert "postgres_restart=always" in output
    # The same for Redis, which has its new password all the same.
    assert queue.info("server")["run_id"] == redis_run
    for user, password in new_passwords.items():
        redis_as(lab, user, password).ping()
    # No secret is anywhere.
    assert "grant" in output.lower(), "the output was not looked at"
    assert "postgres" in watched[0], "no command line was looked at"
    for secret in [*lab.secrets, *new_passwords.values()]:
        assert secret not in output
        assert secret not in watched[0]

    # Without clients, a restart that is needed is done.
    session.close()
    queue.close()
    run_site("postgres,redis", postgres_max_connections=151)
    with connect(lab, "readonly") as readonly:
        assert readonly.execute("SHOW max_connections").fetchone() == ("151",)


def test_wrong_settings_are_refused_and_the_server_goes_on(lab, run_site) -> None:
    started_at = postgres_started_at(lab)
    output = run_site("postgres", "-v", fails=True, postgres_settings={"work_mem": "much"})
    assert "work_mem" in output
    assert postgres_started_at(lab) == started_at
    (host,) = lab.groups["postgres"]
    faults = "SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL"
    assert lab.ssh(host, f"su postgres -c \"psql -Atc '{faults}'\"").stdout.strip() == "0"


def test_too_short_a_password_is_refused_before_anything_is_done(lab, run_site) -> None:
    output = run_site("redis", fails=True, redis_passwords={**lab.redis_passwords, "backup": secrets.token_hex(4)})
    assert "error[redis-inventory]" in output
    assert "openssl rand -hex 24" in output
    redis_as(lab, "backup", lab.redis_passwords["backup"]).ping()


def test_an_inventory_from_before_there_were_users_is_upgraded_without_an_interruption(lab, run_site) -> None:
    """Back to requirepass alone, as it was; then a client that is in stays in, and both ways of logging in work."""
    (host,) = lab.groups["redis"]
    old = secrets.token_hex(24)
    admin = redis_as(lab, "admin", lab.redis_passwords["admin"])
    admin.config_set("requirepass", old)
    admin.execute_command("ACL", "SETUSER", "default", "on", "~*", "&*", "+@all")
    as_before = redis.Redis(host=lab.one("redis"), password=old, decode_responses=True)
    try:
        for user in lab.redis_passwords:
            as_before.execute_command("ACL", "DELUSER", user)
        conf = "/etc/redis/turnout.conf"
        lab.ssh(host, f"sed -i '/^user /d' {conf}; echo requirepass {old} >>{conf}; rm /etc/redis/turnout-admin")
        run_id = as_before.info("server")["run_id"]
        as_before.set("verify:upgrade", "1")
        subscribed = as_before.pubsub()
        subscribed.subscribe("verify")

        output = run_site("redis", redis_password=old)
        assert "Redis's default user is on" in output
        assert as_before.get("verify:upgrade") == "1"
        assert as_before.info("server")["run_id"] == run_id
        new = redis_as(lab, "service", lab.redis_passwords["service"])
        assert new.get("verify:upgrade") == "1"
        assert new.publish("verify", "still here") == 1, "a subscriber was cut off"
    finally:
        run_site("redis")
    as_before.connection_pool.disconnect()
    with pytest.raises(redis.AuthenticationError):
        as_before.ping()
    new.delete("verify:upgrade")
