"""For the tests over all services: the parts they share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "parts"))
