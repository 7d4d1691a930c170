"""Derives the files of the deployment from what the services declare."""
