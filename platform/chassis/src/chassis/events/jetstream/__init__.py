"""JetStream as the event path uses it: connection, streams, what is wrong with them."""
