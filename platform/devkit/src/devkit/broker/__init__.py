"""The broker with least privilege: a key for each service, and the permissions of each key."""
