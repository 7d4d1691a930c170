"""What a release makes and allows at the broker."""
