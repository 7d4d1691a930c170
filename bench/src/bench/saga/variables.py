"""The variables that the services of the FastStream shop get, and the names that they share."""

__all__ = ["DATABASE", "KEY", "NATS", "PRODUCTS", "STREAM", "subject_of"]

DATABASE = "BENCH_DATABASE"
NATS = "BENCH_NATS"
PRODUCTS = "BENCH_PRODUCTS"
"""A file of products, with a JSON object in each line."""
STREAM = "SHOP"
KEY = "ce-subject"
"""The header that has the order's id, in both shops."""


def subject_of(type: str) -> str:
    """Return the subject of an event type."""
    return f"shop.{type}"
