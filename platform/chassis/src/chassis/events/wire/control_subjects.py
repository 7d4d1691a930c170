"""The subjects on which services and their members talk to each other besides events."""

__all__ = [
    "INBOX",
    "MEMBERS_STREAM",
    "MEMBERS_SUBJECTS",
    "RECONCILE",
    "inbox_prefix",
    "members_subject",
    "operator_subject",
    "resend_subject",
    "wake_subject",
]

INBOX = "_INBOX"
RECONCILE = b"reconcile"
"""Payload that asks a relay to compare outbox and stream."""
MEMBERS_STREAM = "slipway-members"
# The subject does not begin with $KV, because a server does not pass that on to another JetStream
# domain.
_MEMBERS = "slipway.members"
MEMBERS_SUBJECTS = f"{_MEMBERS}.>"


def inbox_prefix(service: str) -> str:
    """Return the prefix of a service's inboxes, which no other service may subscribe to."""
    return f"{INBOX}.{service}"


def members_subject(service: str, member: str) -> str:
    """Return the subject on which a member announces itself; the member `*` matches all."""
    return f"{_MEMBERS}.{service}.{member}"


def resend_subject(service: str) -> str:
    """Return the subject on which a service is asked to send events again."""
    return f"slipway.resend.{service}"


def wake_subject(service: str) -> str:
    """Return the subject on which a service's relay is notified.

    An empty payload announces new events; RECONCILE asks it to compare outbox and stream.
    """
    return f"slipway.relay.{service}"


def operator_subject(service: str) -> str:
    """Return the subject on which the members of a service hear of an operator's change.

    The payload is an OperatorChange in JSON: the members log it and look at the database at once.
    """
    return f"slipway.operator.{service}"
