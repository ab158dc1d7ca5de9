"""The outsider that votes every few seconds and writes down when that worked, and when it cannot say."""
