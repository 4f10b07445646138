"""Releases that never happened: what the judge is worth, beside others on the same traffic.

`traffic` draws requests and errors, `vector` is the judge over many releases at once (tests hold it against
the core, scrape by scrape), `rivals` are the other judges, `scenarios` and `table` what is printed.
"""
