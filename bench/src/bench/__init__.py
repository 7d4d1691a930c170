"""The benchmark: the platform next to other libraries and to code written by hand.

Each comparison has a folder: `comparison.py` names its contenders and targets, and every contender
has a file of its own. `make bench` runs them.
"""
