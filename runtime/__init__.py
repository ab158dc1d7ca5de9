"""How any process of ours is configured, connected, observed and stopped; knows nothing of voting."""
