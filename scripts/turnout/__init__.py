"""Turnout: release and recovery automation with Ansible."""
