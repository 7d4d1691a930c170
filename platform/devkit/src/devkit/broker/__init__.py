"""The broker with least privilege: keys, and what each may do."""
