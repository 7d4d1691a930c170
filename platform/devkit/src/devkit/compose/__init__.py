"""The platform in containers on this machine, started from docker/compose.yaml."""
