"""Revisions of the tables of orders."""
