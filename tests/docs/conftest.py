"""Parts of the chassis' tests can be imported by the tests of the documents."""

import sys
from pathlib import Path

for folder in ("contracts", "parts"):
    sys.path.insert(0, str(Path(__file__).parents[2] / "platform/chassis/tests" / folder))
