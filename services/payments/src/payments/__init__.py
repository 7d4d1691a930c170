"""Payments: authorizes the payments of reserved orders, and refunds those of cancelled ones."""
