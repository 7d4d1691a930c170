"""The platform in containers of this machine, by docker/compose.yaml."""
