"""Backups of both clusters and of the queue, each under its own key, restored and tried out by command."""
