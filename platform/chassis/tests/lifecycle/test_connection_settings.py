"""Invalid settings of connections end the start with a line each."""

from pathlib import Path

import pytest
from bookstore_process import BookstoreProcess


@pytest.mark.parametrize("arguments", [(), ("migrate",)])
def test_each_invalid_setting_of_a_connection_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    bookstore = BookstoreProcess(
        tmp_path,
        nats_tls_ca_file="/no/such.pem",
        nats_user="shop",
        grpc_tls_key_file="/dev/null",
        call_tls_certificate_file="/dev/null",
        database_url="postgresql+psycopg://shop:s3cret@db/shop?sslmode=full",
    )
    bookstore.environment["OTEL_TRACES_EXPORTER"] = "zipkin"
    done = bookstore.command(*arguments)
    assert (done.returncode, done.stdout) == (78, "")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "APP_DATABASE_URL",
        "APP_NATS_PASSWORD",
        "APP_NATS_TLS_CA_FILE",
        "APP_GRPC_TLS_CERTIFICATE_FILE",
        "APP_CALL_TLS_KEY_FILE",
        "OTEL_TRACES_EXPORTER",
    ]
    assert "s3cret" not in done.stderr
