"""The pre-deploy checklist: every precondition of a release, looked at with evidence, all results in one table."""
