"""`ballot doctor`: what stands between this installation and a ballot, one line each, and what to change."""
