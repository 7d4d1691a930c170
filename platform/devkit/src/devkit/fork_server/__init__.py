"""Processes of services, forked from a server that has imported the libraries.

Imports of libraries are most of the processor time of a service's start, and forked services share
the memory of what was imported. Python runs this file in the server's process, too, so it imports
nothing.
"""
