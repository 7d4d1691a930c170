"""The sample shop by hand: nats-py and the bare drivers, one commit for an event.

Nothing guards it. An event that a service does not get to publish after its commit is lost, one
that arrives twice takes effect twice, and a service that starts again misses what came meanwhile.
"""
