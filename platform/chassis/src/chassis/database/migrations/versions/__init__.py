"""Revisions of the tables of the chassis."""
