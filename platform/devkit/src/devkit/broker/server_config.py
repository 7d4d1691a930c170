"""The broker's configuration of users, each identified by its public key."""

import json
from collections.abc import Iterable, Mapping

from chassis.events.release.permissions import Permissions

__all__ = ["authorization"]

# The permission to answer a request ends after this time; an answer takes seconds only.
_ANSWER_TIME = "1m"
_HEADER = """\
# The broker's users, by public key, with their permissions; `include` it in its configuration.
# Made by `slipway broker permissions`. It contains no secret."""


def authorization(permissions: Mapping[str, Permissions], public_keys: Mapping[str, str]) -> str:
    """Return the `authorization` block of a nats-server's configuration."""
    users = "\n".join(_user(name, public_keys[name], permissions[name]) for name in permissions)
    return f"{_HEADER}\nauthorization {{\n  users: [\n{users}\n  ]\n}}\n"


def _user(name: str, public_key: str, permissions: Permissions) -> str:
    """Return a user's section of nats-server's configuration."""
    answers = permissions.responses
    responses = f"\n        allow_responses: {{ max: {answers}, expires: '{_ANSWER_TIME}' }}"
    return f"""\
    # {name}
    {{
      nkey: {public_key}
      permissions: {{
        publish: {_allowed(permissions.publish)}
        subscribe: {_allowed(permissions.subscribe)}{responses if answers else ""}
      }}
    }}"""


def _allowed(subjects: Iterable[str]) -> str:
    """Return nats-server's list of the allowed subjects."""
    lines = "".join(f"\n          {json.dumps(subject)}" for subject in subjects)
    # nats-server allows everything if the list is empty, so an empty one denies everything.
    return f"{{ allow: [{lines}\n        ] }}" if lines else '{ deny: [">"] }'
