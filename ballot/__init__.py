"""What must be spelt the same on both sides of a border: pure values and rules, bytes in, values out."""
