"""Acceptance packs: what a candidate is asked before users meet it, declared in the release itself."""
