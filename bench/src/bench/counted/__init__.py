"""Counted costs: the statements, commits and bytes of an order in every service."""
