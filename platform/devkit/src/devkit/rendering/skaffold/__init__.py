"""Skaffold's configurations: of each service, of what they stand on, of the laws, of all."""
