"""A port that is taken, said so that one knows what to do."""

__all__ = ["PortInUse"]


class PortInUse(Exception):
    """Something else listens where the service wants to.

    `variable` is the setting that moves the service.
    """

    def __init__(self, host: str, port: int, variable: str) -> None:
        super().__init__(
            f"port {port} on {host} is in use: stop what listens there, "
            f"or move this service with {variable}"
        )
