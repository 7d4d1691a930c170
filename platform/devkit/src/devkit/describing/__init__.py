"""What the composition roots of the services declare, read without starting anything."""
