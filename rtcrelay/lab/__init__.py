"""The laboratory: a small world of regions on one machine, for trying what distance, loss and crashes do."""
