"""The gate made whole again from what the voter database and the edges' journals know."""
