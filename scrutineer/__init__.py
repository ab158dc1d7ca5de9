"""The desk: what a scrutineer does before, during and after a ballot, each act a command."""
