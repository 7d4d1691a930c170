"""A service's settings as its process reads them: loaded, checked and shown line by line."""

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from chassis.credentials import without_credentials
from chassis.settings import (
    NESTED,
    PREFIX,
    SECRETS_DIRECTORY_VARIABLE,
    ServiceSettings,
    secrets_directory,
)

__all__ = ["SettingsInvalid", "describe", "load", "unknown_variables"]

S = TypeVar("S", bound=ServiceSettings)


class SettingsInvalid(Exception):
    """Settings are invalid or missing.

    `lines` has a line for each such variable, which does not contain its value.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def load(settings_type: type[S]) -> S:
    """Read the settings from the environment.

    Raises:
        SettingsInvalid: settings are invalid or missing.
    """
    lines = []
    named = os.environ.get(SECRETS_DIRECTORY_VARIABLE)
    if named is not None and not Path(named).is_dir():
        lines.append(f"{SECRETS_DIRECTORY_VARIABLE}: {named} is not a folder")
    try:
        settings = settings_type()
    except ValidationError as error:
        raise SettingsInvalid(lines + list(_error_lines(error))) from None
    if settings.environment != "development":
        lines += _default_secret_lines(settings)
    if lines:
        raise SettingsInvalid(lines)
    return settings


def _error_lines(error: ValidationError) -> Iterator[str]:
    """Yield a line for each invalid or missing variable, without its value."""
    by_variable: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False):
        location = NESTED.join(str(part) for part in problem["loc"]) or "settings"
        message = "is missing" if problem["type"] == "missing" else problem["msg"]
        by_variable.setdefault(PREFIX + location.upper(), message)
    for variable, message in by_variable.items():
        yield f"{variable}: {message[0].lower()}{message[1:]}"


def _default_secret_lines(settings: ServiceSettings) -> Iterator[str]:
    """Yield a line for each secret that is not empty and has its default value."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if not isinstance(value, SecretStr) or not value.get_secret_value():
            continue
        if value == field.get_default(call_default_factory=True, validated_data={}):
            yield (
                f"{PREFIX}{name.upper()}: its default is for development only, "
                f"set it in {settings.environment}"
            )


def unknown_variables(
    settings_type: type[ServiceSettings], environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Return a line for each APP_… variable or mounted file that is not a setting.

    It names the setting with the most similar name.
    """
    known = {PREFIX + name.upper(): field for name, field in settings_type.model_fields.items()}
    nested = tuple(name + NESTED for name, field in known.items() if _is_nested(field))
    names = [name for name in environment if name.upper().startswith(PREFIX)]
    directory = secrets_directory()
    if directory is not None:
        names += [p.name for p in directory.iterdir() if p.name.upper().startswith(PREFIX)]
    lines = []
    for name in sorted(set(names)):
        upper = name.upper()
        if upper in known or upper == SECRETS_DIRECTORY_VARIABLE or upper.startswith(nested):
            continue
        nearest = difflib.get_close_matches(upper, known, n=1)
        lines.append(
            f"{name} is not a setting of this service"
            + (f"; did you mean {nearest[0]}?" if nearest else "")
        )
    return lines


def _is_nested(field: FieldInfo) -> bool:
    """Return whether parts of the setting can be set by variables APP_NAME__PART."""
    kind = get_origin(field.annotation) or field.annotation
    return isinstance(kind, type) and issubclass(kind, (dict, BaseModel))


def describe(settings: ServiceSettings) -> str:
    """Return a line `APP_NAME=value  # description` for each setting, with secrets masked."""
    lines = []
    for name, field in type(settings).model_fields.items():
        shown = _displayed(getattr(settings, name), settings, name)
        lines.append((f"{PREFIX}{name.upper()}={shown}", field.description or ""))
    width = min(60, max(len(assignment) for assignment, _ in lines))
    return "\n".join(f"{assignment:<{width}}  # {text}".rstrip("# ") for assignment, text in lines)


def _displayed(value: object, settings: ServiceSettings, name: str) -> str:
    """Return the value of a setting as text, with secrets and credentials masked."""
    if isinstance(value, SecretStr):
        return str(value)
    dumped = settings.model_dump(mode="json", include={name})[name]
    if dumped is None:
        return ""
    if isinstance(dumped, (dict, list)):
        dumped = json.dumps(dumped)
    return without_credentials(str(dumped))
