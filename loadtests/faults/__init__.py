"""Real faults under real load, at seeded moments, and what the books say afterwards."""
