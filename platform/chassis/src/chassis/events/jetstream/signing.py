"""Keys that sign the broker's challenge, and errors about them without a secret."""

from typing import Any

__all__ = ["describe_without_secrets", "key_pair"]


def key_pair(seed: bytearray) -> Any:
    """Return the key pair of an nkey seed. Raises what nkeys raises for an invalid seed."""
    # Few services sign, so that the others do not pay for the import.
    import nkeys  # type: ignore[import-untyped]

    return nkeys.from_seed(seed)


def describe_without_secrets(error: Exception) -> str:
    """Return an error's text, or only its type if the text may quote a file's contents."""
    return str(error) if isinstance(error, (OSError, ValueError)) else type(error).__name__
