"""Turnout: release and recovery automation with Ansible."""

__version__ = "0.1.0"
