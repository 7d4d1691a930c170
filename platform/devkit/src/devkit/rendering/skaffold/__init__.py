"""Skaffold's configurations of each service, of the servers, of the laws, and of all."""
