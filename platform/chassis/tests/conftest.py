"""For all tests of the chassis: the contracts and the parts they are run with."""

import sys
from pathlib import Path

# Contracts of the tests' own (bookstore.v1), and what several of them use (parts).
sys.path[:0] = [str(Path(__file__).parent / "contracts"), str(Path(__file__).parent / "parts")]
