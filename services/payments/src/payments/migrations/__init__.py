"""Revisions of the table of payments."""
