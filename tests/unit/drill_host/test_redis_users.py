"""Whom a restored Redis lets in: who logs in to the one in service, and nobody without a password."""

from __future__ import annotations

import hashlib

from turnout_drill import redis


def digest(password: str) -> str:
    return "#" + hashlib.sha256(password.encode()).hexdigest()


def test_the_service_s_user_comes_in_and_the_default_user_is_off() -> None:
    text = redis.users([{"user": "service", "password": "its-password"}])
    assert text.splitlines() == [f"user service on {digest('its-password')} ~* &* +@all", "user default off"]
    assert "its-password" not in text


def test_who_names_no_user_comes_in_by_the_password_of_the_default_user() -> None:
    both = [{"user": "service", "password": "its-password"}, {"user": "", "password": "from-before"}]
    assert redis.users(both).splitlines() == [
        f"user service on {digest('its-password')} ~* &* +@all",
        f"user default on {digest('from-before')} ~* &* +@all",
    ]
