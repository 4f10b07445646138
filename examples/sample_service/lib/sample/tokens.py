"""Passwords and bearer tokens."""

from __future__ import annotations

import hashlib
import hmac
import time

DAY_S = 86_400
# Far below what a real service would use (OWASP 2023: 600,000): two cores carry a whole
# lab and its load, and a login must stay cheap there.
ITERATIONS = 1_000


def hash_password(password: str, salt: str, iterations: int = ITERATIONS) -> str:
    """`pbkdf2$iterations$salt$hex`, as stored in users.password_hash."""
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), iterations)
    return f"pbkdf2${iterations}${salt}${digest.hex()}"


def verify_password(password: str, stored: str) -> bool:
    """Whether `password` is the one that `stored` was made of."""
    scheme, iterations, salt, _ = stored.split("$")
    if scheme != "pbkdf2":
        return False
    return hmac.compare_digest(hash_password(password, salt, int(iterations)), stored)


def _signature(secret: str, body: str) -> str:
    return hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()[:32]


def issue_token(secret: str, user_id: int, now_s: float | None = None) -> str:
    """A token for `user_id`, valid until the end of tomorrow (UTC).

    It is the same for every login of one day: edges keep a user on one color by a hash
    of the Authorization header, so a user who logs in again stays where they were.
    """
    now_s = time.time() if now_s is None else now_s
    body = f"{user_id}.{(int(now_s) // DAY_S + 2) * DAY_S}"
    return f"{body}.{_signature(secret, body)}"


def read_token(secret: str, token: str, now_s: float | None = None) -> int | None:
    """The user that `token` was issued to, or None if it is forged, malformed or expired."""
    body, _, signature = token.rpartition(".")
    # As bytes: compare_digest refuses text that is not ASCII, and a header may hold any.
    if not body or not hmac.compare_digest(_signature(secret, body).encode(), signature.encode(errors="replace")):
        return None
    user_id, _, expires = body.partition(".")
    if int(expires) < (time.time() if now_s is None else now_s):
        return None
    return int(user_id)
