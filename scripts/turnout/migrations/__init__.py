"""Migrations before they meet the database in service: what was reviewed, linted and rehearsed."""
