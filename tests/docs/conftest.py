"""The tests of what the documents say use the parts of the chassis' own tests."""

import sys
from pathlib import Path

for folder in ("contracts", "parts"):
    sys.path.insert(0, str(Path(__file__).parents[2] / "platform/chassis/tests" / folder))
