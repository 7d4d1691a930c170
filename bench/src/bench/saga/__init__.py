"""The whole saga of an order, from the POST to its confirmation."""
