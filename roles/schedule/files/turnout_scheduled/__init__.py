"""turnout-scheduled: runs one scheduled job, alone, for a limited time, with its output kept and its failure told.

Python standard library only: it runs on any host, under cron and under systemd alike.
"""
