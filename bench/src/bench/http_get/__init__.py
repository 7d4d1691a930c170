"""HTTP requests to a route that answers with a small JSON object."""
