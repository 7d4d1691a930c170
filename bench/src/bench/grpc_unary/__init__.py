"""Unary gRPC calls."""
