"""The outsider: voters, scenarios and reports. Talks HTTP and runs commands; imports ballot only."""
