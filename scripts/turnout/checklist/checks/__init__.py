"""The checks, by what they look at. Each has a function for its probes (where hosts are asked) and one that judges."""
