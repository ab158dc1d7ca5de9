"""The checker: re-derives the books from outside and names every vote that does not fit."""
