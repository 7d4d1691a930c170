"""The way of an event in: read, judged by its number, committed in batches."""
