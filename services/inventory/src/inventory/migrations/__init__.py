"""Revisions of the tables of inventory."""
