"""The check of the broker's settings, before anything connects."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from chassis.certificates import unreadable
from chassis.event_settings import EventSettings
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.signing import describe_without_secrets, key_pair

__all__ = ["find_problems"]


def find_problems(url: str, settings: EventSettings) -> Iterator[str]:
    """Yield a line for each problem of the broker's settings."""
    options = NatsOptions.of(url, settings)
    given = {
        "APP_NATS_CREDENTIALS_FILE": options.credentials_file,
        "APP_NATS_NKEY_SEED_FILE": options.nkey_seed_file,
        "APP_NATS_TOKEN": options.token(),
        "APP_NATS_USER": options.user,
        "APP_NATS_URL": "@" in urlsplit(url).netloc,
    }
    several = [name for name, value in given.items() if value]
    if len(several) > 1:
        yield f"{several[0]}: cannot be combined with {several[1]}: set one of them"
    if bool(options.user) != bool(options.password()):
        missing, other = ("PASSWORD", "USER") if options.user else ("USER", "PASSWORD")
        yield f"APP_NATS_{missing}: is required with APP_NATS_{other}"
    yield from options.certificates.problems()
    files = {
        "APP_NATS_CREDENTIALS_FILE": options.credentials_file,
        "APP_NATS_NKEY_SEED_FILE": options.nkey_seed_file,
    }
    broken = list(unreadable(files))
    yield from broken
    if not broken:
        yield from _check_key(options)


def _check_key(options: NatsOptions) -> Iterator[str]:
    """Yield a line if no key can be made of the credentials."""
    name = "CREDENTIALS" if options.credentials_file else "NKEY_SEED"
    try:
        _, seed = options.jwt_and_seed()
        if seed is not None:
            key_pair(seed)
    except Exception as error:
        yield f"APP_NATS_{name}_FILE: cannot be used: {describe_without_secrets(error)}"
