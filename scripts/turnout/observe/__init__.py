"""What is watched: panels and alerts from one declaration.

`declared` is what may be written, `built_in.yml` what Turnout brings; `load` joins it with a team's own `observe.yml`.
`rules` makes Prometheus rules and their tests, `page` and `grafana` draw the panels, `check` asks a real Prometheus
whether every panel has data and every alert its series.
"""
