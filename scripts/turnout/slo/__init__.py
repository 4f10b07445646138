"""SLOs: read from OpenSLO files, and turned into Prometheus rules.

`parse` reads a folder into `model.Slo` values; `rules` writes what Prometheus and Alertmanager load;
`promtests` writes the unit tests of those rules.
"""
