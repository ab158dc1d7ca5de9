"""From the queue to the voter database, and the turnout; sees ciphertext only."""
