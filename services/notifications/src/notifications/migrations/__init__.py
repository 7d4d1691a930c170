"""Revisions of the table of notifications."""
