"""Orders: takes them, follows each to its end, keeps the record of what happened to it."""
