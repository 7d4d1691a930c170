"""A canary on this machine: the working tree next to a checkout of a git ref as stable."""

from devkit.local_canary.canary_files import CanaryFiles
from devkit.local_canary.options import CanaryOptions

__all__ = ["CanaryFiles", "CanaryOptions"]
