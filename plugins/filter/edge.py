"""Filters that read the edge's variables."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
from pathlib import Path

from ansible.errors import AnsibleFilterError
from turnout.routes import METHODS, route_regex


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


ROUTE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
OTHER = "other"
MOST_ROUTES = 30
DURATION = "turnout_edge_request_duration_seconds_bucket"
COUNTS = (DURATION, "turnout_edge_request_duration_seconds_count", "turnout_edge_requests_total")


def route_faults(routes):
    """Return what is wrong with declared routes, one text for each fault; none where all is well."""
    faults = [f"edge_latency_routes has {len(routes)} routes"] if len(routes) > MOST_ROUTES else []
    names = []
    for number, route in enumerate(routes):
        where = f"edge_latency_routes[{number}]"
        if not isinstance(route, dict):
            faults.append(f"{where} is {route!r}")
            continue
        name, path, methods = route.get("name"), route.get("path"), route.get("methods") or []
        if unknown := sorted(set(map(str, route)) - {"name", "path", "methods"}):
            faults.append(f"{where} has {', '.join(unknown)}")
        if not isinstance(name, str) or not ROUTE.fullmatch(name) or name == OTHER:
            faults.append(f"{where}.name {name!r} is no name of small letters, digits, - and _, other than {OTHER!r}")
        elif name in names:
            faults.append(f"{where}.name {name!r} is there twice")
        names.append(name)
        try:
            route_regex(path)
        except ValueError as error:
            faults.append(f"{where}.path {path!r} {error}")
        if not isinstance(methods, list) or any(method not in METHODS for method in methods):
            faults.append(f"{where}.methods {methods!r} is no list of {', '.join(METHODS)}")
    return faults


def edge_limits(limits):
    """Return `service.limits` with every default filled in, as the templates want it; empty where there are none.

    Faults are told as the checks of the service file tell them.
    """
    if not limits:
        return {}
    # Imported where used: edges without limits need none of it.
    from turnout.service.limits import Limits  # noqa: PLC0415

    return _declared(Limits, limits, "service.limits").for_edge()


def _declared(model, value, path):
    """Return a part of the service file as it is declared, with its defaults."""
    from turnout.faults import FaultsError  # noqa: PLC0415 - see those that call
    from turnout.keys import read  # noqa: PLC0415

    faults = []
    found = read(model, value, path, faults)
    if faults or found is None:
        raise AnsibleFilterError(str(FaultsError("service-invalid", "the variable `service`", faults)))
    return found


def limits_counted(service):
    """Tell whether the limits of a service count requests, which several edges do together."""
    limits = service.get("limits") or {}
    return any(
        isinstance(route, dict) and any(route.get(name) for name in ("by_address", "by_account", "concurrent"))
        for route in limits.get("routes") or []
    )


def latency_bounds(declared, slo_folder, routes=()):
    """Return the histogram's bounds in seconds, ascending, as mtail and Prometheus write them.

    They are the declared ones and every threshold of the SLOs in a folder, which may be missing. An SLO that asks for
    a threshold or a route that can never be counted is refused: its figures would be missing for ever.
    """
    # Imported where used: other edges' filters need no SLOs.
    from turnout.errors import TurnoutError  # noqa: PLC0415
    from turnout.slo import parse  # noqa: PLC0415

    bounds = {float(bound) for bound in declared}
    known = {OTHER, *(route.get("name") for route in routes if isinstance(route, dict))}
    try:
        slos = parse.load(Path(slo_folder)) if Path(slo_folder).is_dir() else {}
        sources = [source for slo in slos.values() for source in slo.sources]
        matchers = [(s.place, m) for s in sources if s.selector.metric in COUNTS for m in s.selector.matchers]
    except TurnoutError as error:
        raise AnsibleFilterError(str(error)) from None
    for place, matcher in matchers:
        if matcher.label == "route" and not any(matcher.accepts(route) for route in known):
            raise AnsibleFilterError(
                f"error[edge-slo-route]: {place}: no route is {matcher}; expected: routes that the edges count, "
                f"{', '.join(sorted(known))}; to mend: declare it in edge_latency_routes, or correct the SLO"
            )
        if matcher.label == "le" and matcher.value != "+Inf":
            bounds.add(_threshold(place, matcher))
    if any(not 0 < bound < float("inf") for bound in bounds):
        raise AnsibleFilterError(
            f"error[edge-buckets]: edge_latency_buckets_s is {list(declared)}; expected: seconds above 0; "
            "to mend: edge_latency_buckets_s"
        )
    return [_number(bound) for bound in sorted(bounds)]


def _threshold(place, matcher):
    try:
        bound = float(matcher.value)
    except ValueError:
        bound = 0.0
    if matcher.op != "=" or not 0 < bound < float("inf") or _number(bound) != matcher.value:
        meant = _number(bound) if 0 < bound < float("inf") else "0.3"
        raise AnsibleFilterError(
            f"error[edge-slo-threshold]: {place}: {matcher}; expected: seconds as Prometheus writes a bound, "
            f'such as le="{meant}"; to mend: the query of that SLO'
        )
    return bound


def _number(bound):
    """Return a bound as Prometheus' own client writes it: the shortest form, 1 for 1.0."""
    return repr(bound).removesuffix(".0")


def haproxy_word(value):
    """Return a text as one word of HAProxy's configuration that stands for itself, also in a log format."""
    return "'" + str(value).replace("%", "%%").replace("'", "'\\''") + "'"


def web_processes(service):
    """Return the web processes of a service, as written, the one first whose route is looked at first. HOLDS SECRETS.

    Of each its `name`, `backends` by color, `ports`, `health`, the `host` and `headers` of health checks, `fits`,
    HAProxy's words for the requests that are its, and `long_s`, the seconds that its connections may be silent.
    """
    processes = [_web_process(service["name"], name, web) for name, web in (service.get("web") or {}).items()]
    return sorted(processes, key=lambda one: (not one["route"].get("host"), -len(one["route"].get("path") or "")))


def _web_process(service, name, web):
    health, route = web.get("health") or {}, web.get("route") or {}
    headers = dict(health.get("headers") or {})
    named = [header for header in headers if str(header).lower() == "host"]
    hosts = [health.get("host"), *(headers.pop(header) for header in named), "localhost"]
    fits = [f"{{ req.hdr(host),host_only -m str -i {route['host']} }}"] if route.get("host") else []
    fits += [f"{{ path,concat(/) -m beg {route['path']}/ }}"] if route.get("path") else []
    return {
        "name": name,
        "backends": {color: f"{service}-web-{name}-{color}" for color in ("blue", "green")},
        "ports": web["ports"],
        "health": health,
        "host": next(filter(None, hosts)),
        "headers": headers,
        "route": route,
        "fits": " ".join(fits),
        "long_s": _long_s(web.get("long"), name),
    }


def _long_s(long, name):
    if not long:
        return 0
    # Imported where used: edges without long connections need none of it.
    from turnout.service.model import Long  # noqa: PLC0415

    return _declared(Long, long, f"service.web.{name}.long").within_s


def web_backends(service):
    """Return the backends of a service's web processes: name to color to HAProxy's name."""
    return {one["name"]: one["backends"] for one in web_processes(service)}


def web_routes(service):
    """Return the names by which requests to web processes are counted, as routes."""
    return [{"name": f"web-{name}"} for name in service.get("web") or {}]


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
        return {
            "proxy_faults": proxy_faults,
            "acme_thumbprint": acme_thumbprint,
            "edge_limits": edge_limits,
            "limits_counted": limits_counted,
            "haproxy_word": haproxy_word,
            "web_processes": web_processes,
            "web_backends": web_backends,
            "web_routes": web_routes,
            "route_regex": route_regex,
            "route_faults": route_faults,
            "latency_bounds": latency_bounds,
        }
