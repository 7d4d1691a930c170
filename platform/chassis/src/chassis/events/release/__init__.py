"""The streams and permissions that a release creates at the broker."""
