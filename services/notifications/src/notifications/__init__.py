"""Notifications: tells customers whether their orders were confirmed or cancelled."""
