"""What keeps the whole running and proves that it did: supervisor, monitor, checker."""
