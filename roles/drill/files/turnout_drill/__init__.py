"""A restore on this host: from a repository to a database, a Redis and a service that answer. Standard library only."""
