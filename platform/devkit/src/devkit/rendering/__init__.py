"""Derivation of the deployment's files from what the services declare."""
