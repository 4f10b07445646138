"""The sample service: an API, a worker and a scheduler on PostgreSQL and Redis."""
