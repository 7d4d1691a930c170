"""A canary of a service: its analysis against stable, and the commands that move it."""
