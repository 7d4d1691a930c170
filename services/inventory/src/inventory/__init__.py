"""Inventory: the products of the shop, their stock, and the reservations for orders."""
