"""The voter-facing edge: can append to the queue, cannot reach PostgreSQL."""
