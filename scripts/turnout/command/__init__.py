"""The commands beside the playbooks: `turnout deploy 1.4.2`, thin over `ansible-playbook turnout.ops.deploy`."""
