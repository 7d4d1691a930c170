"""The images of the services: builds, registries and bills of materials."""
