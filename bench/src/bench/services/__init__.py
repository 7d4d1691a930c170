"""Whole services: the start of the platform, and a service's memory and idle CPU."""
