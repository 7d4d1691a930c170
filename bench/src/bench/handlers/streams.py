"""The names of the stream from which contenders other than this platform read."""

__all__ = ["PEER_STREAM", "PEER_SUBJECT"]

PEER_STREAM = "PEER"
PEER_SUBJECT = "peer.orders"
