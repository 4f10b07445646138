"""Releases: built, signed, published, fetched and verified."""
