"""What panels and alerts are asked of: one Prometheus, by its HTTP interface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from turnout.errors import TurnoutError

Rows = list[dict[str, Any]]


class RefusedError(Exception):
    """Prometheus refused a query; says why in its words."""


class Prometheus:
    """One Prometheus. Every method raises `TurnoutError` where it gives no answer; nothing is asked twice.

    Times are seconds on Prometheus' own clock. A query that it refuses raises `RefusedError`.
    """

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        """Prepare to ask; `timeout_s` is for one answer."""
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._client = PrometheusConnect(url=self.url, retry=Retry(total=0), timeout=cast("Any", timeout_s))

    def now(self, expression: str) -> Rows:
        """Return the result of an expression now."""
        return self._ask(lambda: self._client.custom_query(expression))

    def clock_s(self) -> float:
        """Return its clock, in seconds since the epoch."""
        (sample,) = self.now("vector(time())")
        return float(sample["value"][1])

    def between(self, expression: str, start_s: float, end_s: float, step_s: float) -> Rows:
        """Return the results of an expression from `start_s` to `end_s`, `step_s` apart."""
        params = {"query": expression, "start": start_s, "end": end_s, "step": step_s}
        return self._ask(lambda: self._get("query_range", params)["result"])

    def alerting_rules(self) -> Rows:
        """Return the alerting rules that it has loaded: name, query, health, lastError."""
        groups = self._ask(lambda: self._get("rules", {"type": "alert"})["groups"])
        return [rule for group in groups for rule in group["rules"]]

    def _get(self, what: str, params: dict[str, Any]) -> Any:
        answer = requests.get(f"{self.url}/api/v1/{what}", params=params, timeout=self._timeout_s)
        if answer.status_code in (400, 422):
            raise RefusedError(" ".join(answer.text.split())[:300])
        answer.raise_for_status()
        return answer.json()["data"]

    def _ask(self, question: Callable[[], Any]) -> Rows:
        try:
            return list(question())
        except PrometheusApiClientException as error:
            words = " ".join(str(error).split())
            if "Code 400" in words or "Code 422" in words:
                raise RefusedError(words[:300]) from error
            raise self._silent(error) from error
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> TurnoutError:
        why = " ".join(str(error).split())[:200]
        return TurnoutError(
            "prometheus-unreachable",
            observed=f"Prometheus at {self.url} gave no answer: {type(error).__name__}: {why}",
            expected="its HTTP interface",
            remedy=f"curl -s {self.url}/-/ready must say that it is ready; where it refuses this machine alone, put "
            "the machine's address into firewall_sources.prometheus and run turnout site --tags firewall",
        )
