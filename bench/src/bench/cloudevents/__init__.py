"""CloudEvents: encoding and decoding."""
