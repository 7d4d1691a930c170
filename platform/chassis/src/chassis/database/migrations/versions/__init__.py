"""Revisions of the chassis' own tables."""
