"""Events survive encoding and decoding, a real server, and the CloudEvents SDK."""

import asyncio
from collections.abc import Iterator
from typing import Any

import nats
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents_samples import (
    MINIMAL,
    STRUCTURED,
    contexts,
    filled,
    unhurried,
)
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chassis.events.wire.context import EventContext
from chassis.events.wire.decoding import decode
from chassis.events.wire.encoding import encode, to_structured
from chassis.events.wire.event_data import from_data, to_data
from localservers import NatsServer


@pytest.mark.unit
class TestRoundTrips:
    @unhurried
    @given(contexts, st.binary())
    @example(MINIMAL._replace(subject='Euro € 😀 100% "x"'), bytes(range(256)) * 256)
    def test_binary_mode_preserves_the_event(self, context: EventContext, data: bytes) -> None:
        received = decode(encode(context), data)
        assert received.context == context
        assert received.data == data

    @unhurried
    @given(contexts)
    def test_headers_are_printable_ascii_in_lower_case(self, context: EventContext) -> None:
        for name, value in encode(context).items():
            assert name == name.lower()
            assert all("!" <= character <= "~" for character in value)

    @unhurried
    @given(contexts, filled)
    def test_structured_mode_preserves_the_event(self, context: EventContext, text: str) -> None:
        received = decode(STRUCTURED, to_structured(context, StringValue(value=text)))
        assert received.context == context._replace(datacontenttype="application/json")
        assert from_data(StringValue, received.datacontenttype, received.data).value == text

    def test_data_of_64_kib_passes_in_both_modes(self) -> None:
        message = BytesValue(value=bytes(range(256)) * 256)
        content_type, data = to_data(message, "protobuf")
        received = decode(encode(MINIMAL, content_type), data)
        assert from_data(BytesValue, received.datacontenttype, received.data) == message
        received = decode(STRUCTURED, to_structured(MINIMAL, message))
        assert from_data(BytesValue, received.datacontenttype, received.data) == message


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as running:
        yield running


class TestRealServer:
    @settings(unhurried, max_examples=20)
    @given(st.lists(st.tuples(contexts, st.binary()), min_size=1, max_size=20))
    @example([(MINIMAL._replace(extensions={"empty": "", "euro": "€ 100%"}), bytes(65536))])
    def test_headers_and_data_arrive_as_they_were_sent(
        self, server: NatsServer, events: list[tuple[EventContext, bytes]]
    ) -> None:
        assert asyncio.run(self.carry(server, events)) == events

    async def carry(
        self, server: NatsServer, events: list[tuple[EventContext, bytes]]
    ) -> list[tuple[EventContext, bytes]]:
        async with await nats.connect(server.url, allow_reconnect=False) as client:
            subscription = await client.subscribe("events")
            for context, data in events:
                await client.publish("events", data, headers=encode(context))
            arrived = [await subscription.next_msg(5) for _ in events]
        received = [decode(message.headers, message.data) for message in arrived]
        return [(one.context, bytes(one.data)) for one in received]


@pytest.mark.unit
class TestCloudEventsSdk:
    """Comparison with the SDK's JSON format and event, because it has no NATS binding."""

    @unhurried
    @given(contexts, filled)
    def test_the_sdk_reads_our_structured_mode(self, context: EventContext, text: str) -> None:
        event = JSONFormat().read(None, to_structured(context, StringValue(value=text)))
        assert event.get_data() == text
        # The SDK gives an event without a time the present time.
        time = context.time or event.get_time()
        assert event.get_attributes() == self.attributes(
            context._replace(datacontenttype="application/json", time=time)
        )

    @unhurried
    @given(contexts, st.binary(min_size=1))
    def test_we_read_the_sdks_structured_mode(self, context: EventContext, data: bytes) -> None:
        event = CloudEvent(self.attributes(context), data)
        received = decode(STRUCTURED, JSONFormat().write(event))
        assert received.data == data
        assert received.context == context._replace(time=event.get_time())

    @unhurried
    @given(contexts, st.binary())
    def test_the_sdks_event_of_our_decoded_headers_gives_the_same_headers(
        self, context: EventContext, data: bytes
    ) -> None:
        received = decode(encode(context), data)
        event = CloudEvent(self.attributes(received.context), bytes(received.data))
        structured_again = decode(STRUCTURED, JSONFormat().write(event)).context
        assert encode(structured_again._replace(time=context.time)) == encode(context)

    def attributes(self, context: EventContext) -> dict[str, Any]:
        named = {
            "id": context.id,
            "source": context.source,
            "type": context.type,
            "specversion": "1.0",
            "subject": context.subject,
            "time": context.time,
            "datacontenttype": context.datacontenttype,
            "dataschema": context.dataschema,
            "partitionkey": context.partition_key,
            "sequence": None if context.sequence is None else f"{context.sequence:016d}",
            "correlationid": context.correlation_id,
            "causationid": context.causation_id,
            "traceparent": context.traceparent,
            "tracestate": context.tracestate,
        }
        return {k: v for k, v in named.items() if v is not None} | dict(context.extensions)
