"""Payments: authorizes what was reserved, and gives back what was paid for nothing."""
