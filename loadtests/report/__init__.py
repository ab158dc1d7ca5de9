"""What a run came to, for a person (HTML) and for a program (JSON)."""
