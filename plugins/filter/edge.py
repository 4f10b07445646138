"""Filters that read the edge's variables."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json


def proxy_faults(proxies, proxy_protocol=False):
    """Return what is wrong with declared proxies, one text for each fault; none where all is well."""
    faults = []
    for proxy in proxies:
        try:
            network = ipaddress.ip_network(proxy)
        except ValueError as error:
            faults.append(f"edge_trusted_proxies has {proxy!r}: {error}")
            continue
        loopback = ipaddress.ip_network("127.0.0.0/8" if network.version == 4 else "::1/128")
        if network.overlaps(loopback):
            faults.append(f"edge_trusted_proxies has {proxy!r}, which holds loopback: smoke tests come from there")
    if proxy_protocol and not proxies:
        faults.append("edge_proxy_protocol is true, and edge_trusted_proxies declares nobody who may speak it")
    return faults


def haproxy_word(value):
    """Return a text as one word of HAProxy's configuration that stands for itself, also in a log format."""
    return "'" + str(value).replace("%", "%%").replace("'", "'\\''") + "'"


def acme_thumbprint(pem):
    """Return the thumbprint (RFC 7638) of an account's key, which every answer to its challenges ends with.

    Empty where it is no EC key of curve P-256.
    """
    # Imported where used: edges without ACME need none of it.
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(str(pem).strip().encode() + b"\n", password=None)
    except (ValueError, TypeError):
        return ""
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        return ""
    numbers = key.public_key().public_numbers()
    x, y = (_base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    text = json.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y}, separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(text.encode()).digest())


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class FilterModule:
    """What Ansible asks for."""

    def filters(self):
        """Return the filters by name."""
        return {"proxy_faults": proxy_faults, "acme_thumbprint": acme_thumbprint, "haproxy_word": haproxy_word}
