"""The images of the services: how they are built, and what is in them."""
