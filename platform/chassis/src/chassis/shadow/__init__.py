"""Shadow replay: recorded events handled on a scratch database, from which nothing gets out."""
