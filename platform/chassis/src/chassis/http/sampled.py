"""Middleware that sends only those requests through an instrumentation that it would record."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from fastapi import FastAPI
from opentelemetry import context as otel_context
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis.telemetry import tracing

if TYPE_CHECKING:
    from chassis.telemetry.sampling import EarlySampling

__all__ = ["instrument"]


def instrument(app: FastAPI, unrecorded: Collection[str]) -> None:
    """Record a span for each request whose trace is recorded, except for these paths."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.metrics import NoOpMeterProvider

    build_plain = app.build_middleware_stack
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=tracing.provider,
        meter_provider=NoOpMeterProvider(),
        excluded_urls=",".join(f"{path}$" for path in unrecorded),
        exclude_spans=["receive", "send"],
    )
    early = tracing.early
    if early is None:
        return
    build_recording = app.build_middleware_stack

    def build() -> ASGIApp:
        return SampledOnly(build_recording(), build_plain(), early, unrecorded)

    app.build_middleware_stack = build  # type: ignore[method-assign]


class SampledOnly:
    """Middleware with two ways through an application: with an instrumentation, and without."""

    def __init__(
        self,
        recording: ASGIApp,
        plain: ASGIApp,
        early: "EarlySampling",
        unrecorded: Collection[str],
    ) -> None:
        self._recording = recording
        self._plain = plain
        self._early = early
        self._fields = frozenset(name.encode("ascii") for name in early.fields)
        self._unrecorded = unrecorded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._unrecorded:
            await self._plain(scope, receive, send)
            return
        context = self._early.unrecorded(
            [
                (name.decode("ascii"), value.decode("latin-1"))
                for name, value in scope["headers"]
                if name in self._fields
            ]
        )
        if context is None:
            await self._recording(scope, receive, send)
            return
        token = otel_context.attach(context)
        try:
            await self._plain(scope, receive, send)
        finally:
            otel_context.detach(token)
