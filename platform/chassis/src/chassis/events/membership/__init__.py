"""Which replicas of a service run, and which lanes each of them owns."""
