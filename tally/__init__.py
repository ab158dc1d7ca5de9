"""After close: key ceremony, open, count, sign. The only code that can open a vote; works offline."""
