"""A file of one SLO, as a team writes it."""

from __future__ import annotations

from pathlib import Path

from turnout.slo import parse
from turnout.slo.model import Slo

OPENSLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: {name}
  annotations:
    {annotations}
spec:
  service: shop
  budgetingMethod: Occurrences
  objectives: [{{target: 0.995}}]
  indicator:
    spec:
      ratioMetric:
        counter: true
        {part}: {{metricSource: {{type: Prometheus, spec: {{query: responses_total}}}}}}
        total: {{metricSource: {{type: Prometheus, spec: {{query: requests_total}}}}}}
"""


def declared(folder: Path, name: str, part: str = "bad", annotations: str = "{}") -> Slo:
    """Return the SLO of a file whose numerator is `part`, good or bad; `annotations` begin in its sixth line."""
    path = folder / f"{part}.yml"
    path.write_text(OPENSLO.format(name=name, part=part, annotations=annotations), encoding="utf-8")
    return parse.load(path)[name]
