"""Notifications: tells the customer how an order has ended."""
