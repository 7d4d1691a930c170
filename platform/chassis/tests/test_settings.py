"""Settings: read from variables and files, refused with a line each, shown with masked secrets."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from chassis import ServiceSettings
from chassis.settings_loading import SettingsInvalid, describe, load, unknown_variables


class Bookshop(ServiceSettings):
    http_port: int = 8091
    database_url: SecretStr = SecretStr("sqlite:///bookshop.db")
    mail_password: SecretStr = SecretStr("letmein")
    discount_percent: int = Field(5, ge=0, le=100, description="off every book")


class Publisher(ServiceSettings):
    imprint: str


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("APP_"):
            monkeypatch.delenv(name)


def refused(settings_type: type[ServiceSettings]) -> list[str]:
    with pytest.raises(SettingsInvalid) as refusal:
        load(settings_type)
    return refusal.value.lines


def test_a_variable_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_DISCOUNT_PERCENT", "30")
    settings = load(Bookshop)
    assert (settings.discount_percent, settings.http_port) == (30, 8091)


def test_a_mounted_file_wins_over_the_default_and_a_variable_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APP_SECRETS_DIR", str(tmp_path))
    (tmp_path / "APP_MAIL_PASSWORD").write_text("from the file\n", encoding="utf-8")
    (tmp_path / "app_discount_percent").write_text("7", encoding="utf-8")
    monkeypatch.setenv("APP_DISCOUNT_PERCENT", "8")
    settings = load(Bookshop)
    assert settings.mail_password.get_secret_value() == "from the file"
    assert settings.discount_percent == 8


def test_targets_are_given_as_json_or_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_TARGETS", '{"printer": "ipv4:127.0.0.1:1"}')
    monkeypatch.setenv("APP_TARGETS__BINDER", "ipv4:127.0.0.1:2")
    assert load(Bookshop).targets == {
        "printer": "ipv4:127.0.0.1:1",
        "binder": "ipv4:127.0.0.1:2",
    }


def test_each_wrong_or_missing_variable_gets_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("APP_HTTP_PORT", "eighty")
    monkeypatch.setenv("APP_TARGETS", "{not json")
    monkeypatch.setenv("APP_LOG_LEVEL", "LOUD")
    lines = refused(Publisher)
    assert [line.split(":")[0] for line in lines] == [
        "APP_HTTP_PORT",
        "APP_TARGETS",
        "APP_LOG_LEVEL",
        "APP_IMPRINT",
    ]
    assert lines[-1] == "APP_IMPRINT: is missing"


def test_a_refusal_does_not_show_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_HTTP_PORT", "s3cret")
    assert "s3cret" not in "".join(refused(Bookshop))


def test_a_missing_folder_of_secrets_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APP_SECRETS_DIR", str(tmp_path / "gone"))
    assert refused(Bookshop) == [f"APP_SECRETS_DIR: {tmp_path / 'gone'} is not a folder"]


def test_default_secrets_are_refused_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENVIRONMENT", "production")
    monkeypatch.setenv("APP_DATABASE_URL", "postgresql+psycopg://bookshop@db/bookshop")
    (line,) = refused(Bookshop)
    assert line.startswith("APP_MAIL_PASSWORD:")
    assert "letmein" not in line
    monkeypatch.setenv("APP_MAIL_PASSWORD", "letmein")
    assert refused(Bookshop), "the default is refused also if it is set explicitly"
    monkeypatch.setenv("APP_MAIL_PASSWORD", "better")
    assert load(Bookshop).environment == "production"


def test_an_unknown_variable_is_named_with_the_nearest_known() -> None:
    environment = {
        "APP_HTP_PORT": "1",
        "APP_HTTP_PORT": "1",
        "APP_TARGETS__PRINTER": "x",
        "APP_XYLOPHONE": "1",
        "OTHER": "1",
    }
    assert unknown_variables(Bookshop, environment) == [
        "APP_HTP_PORT is not a setting of this service; did you mean APP_HTTP_PORT?",
        "APP_XYLOPHONE is not a setting of this service",
    ]


def test_the_effective_settings_are_shown_with_secrets_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("APP_NATS_URL", "nats://bookshop:s3cret@broker:4222")
    monkeypatch.setenv("APP_MAIL_PASSWORD", "s3cret")
    shown = describe(load(Bookshop))
    lines = dict(line.split("=", 1) for line in shown.splitlines())
    assert lines["APP_DISCOUNT_PERCENT"].split() == ["5", "#", "off", "every", "book"]
    assert lines["APP_NATS_URL"].split()[0] == "nats://***@broker:4222"
    assert lines["APP_HTTP_PORT"].split()[0] == "8091"
    assert "s3cret" not in shown
    assert "bookshop.db" not in shown


def test_reading_settings_imports_no_server_no_database_no_broker_and_no_logging() -> None:
    program = (
        "import sys, chassis.settings, chassis; chassis.ServiceSettings(); chassis.Service;"
        "print([m for m in ('grpc', 'fastapi', 'sqlalchemy', 'nats', 'alembic', 'uvicorn',"
        " 'structlog') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    )
    assert ran.stdout.strip() == "[]"


def test_a_mounted_secret_that_may_change_is_read_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APP_SECRETS_DIR", str(tmp_path))
    (tmp_path / "APP_NATS_TOKEN").write_text("first\n", encoding="utf-8")
    settings = load(Bookshop)
    assert settings.current("nats_token") == "first"
    (tmp_path / "APP_NATS_TOKEN").write_text("second\n", encoding="utf-8")
    assert settings.current("nats_token") == "second"
    (tmp_path / "APP_NATS_TOKEN").unlink()
    assert settings.current("nats_token") == "first"
    monkeypatch.setenv("APP_NATS_TOKEN", "third")
    (tmp_path / "APP_NATS_TOKEN").write_text("second\n", encoding="utf-8")
    assert load(Bookshop).current("nats_token") == "third"
