"""Keys are made once and readable by their owner only; the broker knows the public keys."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import nkeys  # type: ignore[import-untyped]
import pytest
import yaml
from nats.aio.client import Client

from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.release.permissions import Listener, of_release, of_service
from chassis.events.wire import control_subjects
from chassis.events.wire.resending import MOST_ANSWERS
from devkit.broker.keys import make_keys, names_of, public_keys, secret_manifests
from devkit.broker.server_config import authorization
from devkit.errors import DevkitError
from localservers import NatsServer


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_seed_is_readable_by_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        (key,) = make_keys(tmp_path / "keys", ["orders"])
    finally:
        os.umask(before)
    assert mode(key.seed_file) == 0o600
    assert mode(key.seed_file.parent) == 0o700
    pair = nkeys.from_seed(bytearray(key.seed_file.read_bytes().strip()))
    assert pair.public_key.decode() == key.public
    assert public_keys(tmp_path / "keys", ["orders"]) == {"orders": key.public}
    assert sorted(file.name for file in key.seed_file.parent.iterdir()) == [
        "orders.nk",
        "orders.pub",
    ]


def test_keys_that_are_there_are_kept_unless_they_are_to_be_rotated(tmp_path: Path) -> None:
    (first,) = make_keys(tmp_path, ["orders"])
    kept, new = make_keys(tmp_path, ["orders", "payments"])
    assert (kept.done, kept.public, new.done) == ("kept", first.public, "made")
    (rotated,) = make_keys(tmp_path, ["orders"], rotate=True)
    assert rotated.done == "rotated"
    assert rotated.public != first.public
    assert public_keys(tmp_path, ["orders"]) == {"orders": rotated.public}


def test_a_file_that_holds_no_seed_is_neither_used_nor_overwritten(tmp_path: Path) -> None:
    (tmp_path / "orders.nk").write_text("something else\n", encoding="ascii")
    with pytest.raises(DevkitError, match="does not contain an nkey's seed"):
        make_keys(tmp_path, ["orders"])
    assert (tmp_path / "orders.nk").read_text(encoding="ascii") == "something else\n"


def test_a_key_that_is_missing_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(DevkitError, match="slipway broker keys --out"):
        public_keys(tmp_path, ["orders"])


def test_no_service_is_named_like_the_release() -> None:
    assert list(names_of(["orders"])) == ["orders", "release"]
    with pytest.raises(DevkitError, match="cannot be named release"):
        list(names_of(["release"]))


def test_a_secret_of_kubernetes_holds_the_seed(tmp_path: Path) -> None:
    keys = make_keys(tmp_path, ["orders", "release"])
    secrets = list(yaml.safe_load_all(secret_manifests(keys)))
    assert [secret["metadata"]["name"] for secret in secrets] == ["orders-nats", "release-nats"]
    seed = keys[0].seed_file.read_text(encoding="ascii").strip()
    assert secrets[0]["stringData"] == {"nkey.seed": seed}


def test_a_server_takes_the_configuration(tmp_path: Path) -> None:
    permissions = {
        "silent": of_service("silent", publishes=[], listens=[], database=False),
        "shop": of_service(
            "shop",
            publishes=["a.shop.v1.Sold"],
            listens=[Listener("b.bank.v1.Paid"), Listener("c.Old", foreign="legacy")],
            database=True,
        ),
        "release": of_release(["shop"], api="$JS.hub.API"),
    }
    public = {key.name: key.public for key in make_keys(tmp_path / "keys", permissions)}
    with NatsServer(tmp_path / "nats", config=authorization(permissions, public)) as server:
        assert server.running


def test_the_command_prints_public_halves_and_no_seed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "devkit", "broker", "keys", "--out", str(tmp_path / "keys")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    seeds = [file.read_text(encoding="ascii").strip() for file in tmp_path.glob("keys/*.nk")]
    assert len(done.stdout.splitlines()) == len(seeds)
    assert not [seed for seed in seeds if seed in done.stdout + done.stderr]


async def flushed(client: Client) -> None:
    """Wait until the broker has processed everything that the client has written.

    The client's first PING may overtake messages that wait to be written; its second does not.
    """
    await client.flush()
    await client.flush()


async def test_a_request_may_be_answered_in_full_and_no_further(tmp_path: Path) -> None:
    permissions = {
        "shop": of_service("shop", publishes=["a.shop.v1.Sold"], listens=[], database=True),
        "bank": of_service(
            "bank", publishes=[], listens=[Listener("a.shop.v1.Sold")], database=True
        ),
    }
    public = {key.name: key.public for key in make_keys(tmp_path / "keys", permissions)}
    with NatsServer(tmp_path / "nats", config=authorization(permissions, public)) as server:

        def options(name: str) -> NatsOptions:
            seed, inbox = tmp_path / "keys" / f"{name}.nk", control_subjects.inbox_prefix(name)
            return NatsOptions(server.url, nkey_seed_file=seed, inbox_prefix=inbox)

        async with (
            connection(options("shop"), "shop") as shop,
            connection(options("bank"), "bank") as bank,
        ):
            asked = await shop.subscribe(control_subjects.resend_subject("shop"))
            await flushed(shop)
            inbox = bank.new_inbox()
            answers = await bank.subscribe(inbox)
            await bank.publish(control_subjects.resend_subject("shop"), b"", reply=inbox)
            request = await asked.next_msg(timeout=30)
            for number in range(MOST_ANSWERS + 1):
                await shop.publish(request.reply, str(number).encode())
            await flushed(shop)
            received = [await answers.next_msg(timeout=30) for _ in range(MOST_ANSWERS)]
            assert [int(message.data) for message in received] == list(range(MOST_ANSWERS))
            assert "permissions violation" in str(shop.last_error).lower()
