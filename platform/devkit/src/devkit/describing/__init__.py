"""Descriptions of the services, read from their composition roots without starting anything."""
