"""When voters could vote, and who tried and did not succeed: read from the record, told and exported."""
