"""Inventory: what the shop sells, how much of it is there, and for whom it is set aside."""
