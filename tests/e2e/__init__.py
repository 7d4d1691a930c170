"""A package, because a fixture of a package ends with the last test of the package."""
