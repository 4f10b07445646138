"""The load generator and the checker of jobs: tools for tests and benches."""
