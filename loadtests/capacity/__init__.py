"""How much machine an electorate needs, and where that is measured."""
