#!/usr/bin/python
"""Ask a service over HTTP and compare its answers with what was expected."""

from __future__ import annotations

DOCUMENTATION = r"""
module: http
short_description: Ask a service over HTTP until it answers as expected
description:
  - Sends each request to O(base_url) and compares status and body with what was expected.
  - All requests must answer as expected in one round; rounds are repeated until O(deadline_s) has passed.
  - Reads only; it never changes the host.
options:
  base_url: {description: "Where to ask, such as C(http://127.0.0.1:8001).", type: str, required: true}
  requests:
    description: >-
      What to ask, as one JSON text - a list of objects with C(path), and optionally C(method), C(status),
      C(contains), C(body) and C(headers). It may hold credentials and is therefore never logged; as one text, so
      that hiding it does not blank every path in the messages.
    type: str
    required: true
  headers: {description: Headers added to every request., type: dict, default: {}}
  unit:
    description:
      - The systemd unit that answers there. On a failure its last lines and the beginning of the last answer are told,
        without the values of its environment and of headers. Empty tells neither.
    type: str
    default: ""
  timeout_s: {description: Seconds that one answer may take., type: float, default: 5.0}
  deadline_s:
    description: Seconds within which a whole round must succeed; 0 is one round.
    type: float
    default: 0.0
  rounds: {description: Rounds in a row that must succeed., type: int, default: 1}
  for_s:
    description:
      - Seconds to go on asking, the requests in turn, at O(per_s). Whatever is answered is no failure then; it is there
        for others to count.
    type: float
    default: 0.0
  per_s: {description: Requests a second during O(for_s)., type: float, default: 1.0}
  validate_certs: {description: Whether to check the certificate of an C(https) address., type: bool, default: true}
author: [The Turnout authors (!UNKNOWN)]
attributes:
  check_mode: {support: full, description: "Asks as usual, since asking changes nothing."}
  diff_mode: {support: none, description: Nothing changes.}
"""

EXAMPLES = r"""
- name: Wait for the candidate's health
  turnout.ops.http:
    base_url: http://127.0.0.1:8002
    requests: "{{ [{'path': '/api/health/', 'status': 200}] | to_json }}"
    deadline_s: 60
"""

RETURN = r"""
sent: {description: Requests sent during O(for_s)., returned: with for_s, type: int}
unexpected: {description: How many of them were not answered as expected., returned: with for_s, type: int}
answers:
  description: Per request, its path, status and seconds.
  returned: success
  type: list
  elements: dict
faults:
  description: What was not as expected in the last round.
  returned: failure
  type: list
  elements: str
"""

import http.client
import importlib
import json
import ssl
import sys
import time
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

LIBRARY = "/usr/local/lib/turnout-host"  # laid by the role service_host; the module runs on edges too
BODY_SHOWN = 300  # characters of an answer that a message may have
BODY_LIMIT = 1 << 20  # bytes read of an answer; a smoke test has no need of more


def ask(base_url, request, headers, timeout_s, context=None, exchange=None):  # noqa: PLR0917 - as it is called
    """Send one request; return (status, body text, seconds). Raises OSError or HTTPException.

    `exchange` is filled with what was sent (no header's value but Host's) and the answer's first line and body.
    """
    parts = urlsplit(base_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    extra = {"context": context} if parts.scheme == "https" else {}
    connection = kind(parts.hostname, parts.port, timeout=timeout_s, **extra)
    body = request.get("body")
    if body is not None and not isinstance(body, str):
        body = json.dumps(body)
    sent = {str(name): str(value) for name, value in {**headers, **(request.get("headers") or {})}.items()}
    if body is not None and "content-type" not in {name.lower() for name in sent}:
        sent["Content-Type"] = "application/json"
    hosts = [value for name, value in sent.items() if name.lower() == "host"] or [parts.netloc]
    path = parts.path.rstrip("/") + request["path"]
    exchange = {} if exchange is None else exchange
    exchange.clear()
    exchange.update(
        method=request.get("method") or "GET", path=path, host=hosts[0], line="no answer", body="",
        headers=sorted(name for name in sent if name.lower() != "host"), hidden=sorted(sent.values()),
    )  # fmt: skip
    started = time.monotonic()
    try:
        connection.request(
            request.get("method") or "GET",
            path,
            body=None if body is None else body.encode(),
            headers=sent,
        )
        answer = connection.getresponse()
        version = "HTTP/1.0" if answer.version == 10 else "HTTP/1.1"
        exchange["line"] = f"{version} {answer.status} {answer.reason}".strip()
        text = exchange["body"] = answer.read(BODY_LIMIT).decode("utf-8", "replace")
        return answer.status, text, time.monotonic() - started
    finally:
        connection.close()


def fault_of(request, status, text):
    """Return how an answer differs from what was expected, or None. The body is not quoted: it may be private."""
    name = f"{request.get('method') or 'GET'} {request['path']}"
    expected = int(request.get("status") or 200)
    if status != expected:
        return f"{name} answered {status}, expected {expected}"
    wanted = request.get("contains")
    if wanted and wanted not in text:
        return f"{name} answered {status} but without {wanted!r} in its body"
    return None


def told(exchange, unit):
    """Return what was sent and what came, for a person; with a unit also how the answer's body begins.

    Secrets (values of headers but Host's, and of the unit's environment) are left out of it.
    """
    names = f", {', '.join(exchange['headers'])}" if exchange["headers"] else ""
    sent = f"sent: {exchange['method']} {exchange['path']}, Host: {exchange['host']}{names}; came: {exchange['line']}"
    if not unit or not exchange["body"].strip():
        return sent
    try:
        said = library()
        secrets = said.secrets_of_unit(unit)
    except (ImportError, OSError):
        return sent
    # A password may come back without the word before it: `Basic …`, `Bearer …`.
    parts = [part for value in exchange["hidden"] for part in (value, *value.split()[1:])]
    hidden = [(part, "a header") for part in parts if len(part) >= said.SHORTEST_SECRET and part != exchange["host"]]
    body = said.redact(exchange["body"], sorted(secrets + hidden, key=lambda pair: -len(pair[0])))
    return f"{sent}; its body begins: {' '.join(body.split())[:BODY_SHOWN]}"


def library():
    """Return the module turnout_host.said of this host. Raises ImportError where it was not laid."""
    if LIBRARY not in sys.path:
        sys.path.insert(0, LIBRARY)
    return importlib.import_module("turnout_host.said")


def last_lines(unit):
    """Return the last lines of a unit as the end of a message, empty where there are none to be shown."""
    try:
        lines = library().last_lines(unit) if unit else []
    except ImportError:
        lines = []
    return f"; last lines of {unit}: {' | '.join(lines)}" if lines else ""


def one_round(params, context, exchanges=None):
    """Ask every request once; return (answers, faults). What went wrong is added to `exchanges`, as `ask` fills it."""
    answers, faults = [], []
    exchanges = [] if exchanges is None else exchanges
    exchanges.clear()
    for request in params["requests"]:
        name = f"{request.get('method') or 'GET'} {request['path']}"
        exchange = {}
        try:
            status, text, seconds = ask(
                params["base_url"], request, params["headers"], params["timeout_s"], context, exchange
            )
        except (OSError, http.client.HTTPException) as error:
            exchanges.append(exchange)
            faults.append(f"{name} had no answer within {params['timeout_s']:g} s: {error}")
            continue
        answers.append({"path": request["path"], "status": status, "seconds": round(seconds, 4)})
        fault = fault_of(request, status, text)
        if fault:
            faults.append(fault)
            exchanges.append(exchange)
    return answers, faults


def go_on(params, context):
    """Ask the requests in turn for a while, at a steady rate; return (sent, unexpected)."""
    started = time.monotonic()
    sent = unexpected = 0
    while True:
        due = started + sent / params["per_s"]
        if due - started >= params["for_s"] or time.monotonic() - started >= params["for_s"]:
            return sent, unexpected
        time.sleep(max(0.0, due - time.monotonic()))
        request = params["requests"][sent % len(params["requests"])]
        _, faults = one_round({**params, "requests": [request]}, context)
        sent += 1
        unexpected += bool(faults)


def main():
    """Ask until the rounds succeed or the deadline has passed."""
    module = AnsibleModule(
        argument_spec={
            "base_url": {"type": "str", "required": True},
            "requests": {"type": "str", "required": True, "no_log": True},
            "headers": {"type": "dict", "default": {}},
            "unit": {"type": "str", "default": ""},
            "timeout_s": {"type": "float", "default": 5.0},
            "deadline_s": {"type": "float", "default": 0.0},
            "rounds": {"type": "int", "default": 1},
            "validate_certs": {"type": "bool", "default": True},
            "for_s": {"type": "float", "default": 0.0},
            "per_s": {"type": "float", "default": 1.0},
        },
        supports_check_mode=True,
    )
    params = {**module.params, "requests": json.loads(module.params["requests"])}
    context = ssl.create_default_context()
    if not params["validate_certs"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if params["for_s"] > 0:
        sent, unexpected = go_on(params, context)
        module.exit_json(changed=False, sent=sent, unexpected=unexpected)
    started = time.monotonic()
    good, exchanges = 0, []
    while True:
        answers, faults = one_round(params, context, exchanges)
        good = 0 if faults else good + 1
        if good >= params["rounds"]:
            module.exit_json(changed=False, answers=answers)
        if faults and time.monotonic() - started >= params["deadline_s"]:
            break
        time.sleep(0.25)
    waited = f" for {params['deadline_s']:g} s" if params["deadline_s"] else ""
    module.fail_json(
        msg=f"asked {params['base_url']}{waited}: {'; '.join(faults)}; "
        + "; ".join(told(exchange, params["unit"]) for exchange in exchanges if exchange)
        + last_lines(params["unit"]),
        faults=faults,
    )


if __name__ == "__main__":
    main()
