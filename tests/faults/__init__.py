"""The fault matrix: deploys and rollbacks cut off at every moment, in every way; see docs/faults.md."""
