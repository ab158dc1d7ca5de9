"""The private half of the backup keys: the only place where a backup can be opened."""
