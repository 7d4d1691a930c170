"""Orders: accepts orders, runs the saga of each until it ends, and keeps its history."""
