"""Parameters of a service's functions, each filled by its annotation.

Event handlers, RPC methods and periodic jobs say by annotations what they need. Their callers say
what they offer: arguments that differ in each call, such as an event or a transaction. Settings and
the stubs of other services stay the same in all calls.
"""

import collections.abc
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic_settings import BaseSettings

from chassis.calls import Call, StubOf, no_stub

__all__ = ["DeclarationError", "Parameters", "full_name", "resolve_parameters", "short_name"]

_LISTS = {collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, list}


class DeclarationError(TypeError):
    """A declaration that cannot work, so that the service refuses to start; it may have several
    lines, each with one fault and what to change."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a function by what fills them.

    `per_call` names the offer that fills a parameter in each call, `fixed` has the arguments that
    are the same in all calls. `problems` has a line for each parameter that cannot be filled.
    `returns` is the annotation of the result, None if there is none.
    """

    per_call: Mapping[str, str]
    fixed: Mapping[str, object]
    problems: Sequence[str]
    returns: Any

    def filled_by(self, offer: str) -> list[str]:
        """Return the names of the parameters that an offer fills."""
        return [name for name, filler in self.per_call.items() if filler == offer]


def resolve_parameters(
    function: Callable[..., Any],
    offers: Mapping[Any, str],
    settings: BaseSettings,
    stub_of: StubOf = no_stub,
    *,
    stubs: bool = True,
) -> Parameters:
    """Find what fills each parameter of a function.

    `offers` maps annotations to the names of what the caller passes in each call. An offer of
    Sequence[T] fills parameters annotated as any kind of list of T. If `stubs` is true, an
    `async def` may also take stubs of other services.
    """
    where = full_name(function)
    try:
        hints = get_type_hints(function)
        extras = get_type_hints(function, include_extras=True)
    except NameError as error:
        problem = f"{where}: cannot read its annotations, {error}; import what they name"
        return Parameters({}, {}, [problem], None)
    per_call: dict[str, str] = {}
    fixed: dict[str, object] = {}
    problems: list[str] = []
    for name in inspect.signature(function).parameters:
        hint = _normalized(hints.get(name))
        call = _call_of(extras.get(name)) if stubs else None
        offer = next((offer for offered, offer in offers.items() if offered == hint), None)
        if call is not None:
            try:
                fixed[name] = _stub(call, function, stub_of)
            except LookupError as error:
                problems.append(f"{where}({name}): {error}")
        elif offer is not None:
            per_call[name] = offer
        elif _accepts(hint, settings):
            fixed[name] = settings
        else:
            found = "has no annotation" if hint is None else f"is annotated {short_name(hint)}"
            possible = _possible(offers, settings, stubs and inspect.iscoroutinefunction(function))
            problems.append(f"{where}({name}) {found}; it can be {possible}")
    return Parameters(per_call, fixed, problems, hints.get("return"))


def _normalized(hint: Any) -> Any:
    """Return Sequence[T] for any kind of list of T, other annotations as they are."""
    if get_origin(hint) in _LISTS and (arguments := get_args(hint)):
        return Sequence[arguments]  # type: ignore[valid-type]
    return hint


def _call_of(annotation: Any) -> Call | None:
    """Return the Call in Annotated[Stub, Depends(client(...))] or Annotated[Stub, client(...)]."""
    for extra in getattr(annotation, "__metadata__", ()):
        call = getattr(extra, "dependency", extra)
        if isinstance(call, Call):
            return call
    return None


def _stub(call: Call, function: Callable[..., Any], stub_of: StubOf) -> object:
    """Return the stub for a call.

    Raises:
        LookupError: the function may not call, or there is no such stub.
    """
    if not inspect.iscoroutinefunction(function):
        raise LookupError(
            "a def calls no service, since a transaction never waits on the network; "
            "make it an async def"
        )
    return stub_of(call.contract, call.stub)


def _accepts(hint: Any, settings: BaseSettings) -> bool:
    """Return whether a parameter with this annotation can be filled with the settings."""
    return inspect.isclass(hint) and issubclass(hint, BaseSettings) and isinstance(settings, hint)


def _possible(offers: Mapping[Any, str], settings: BaseSettings, stubs: bool) -> str:
    """Return in words what a parameter can be annotated as."""
    names = [short_name(annotation) for annotation in (*offers, type(settings))]
    if stubs:
        names.append("a stub as Annotated[..., Depends(client(...))]")
    return f"{', '.join(names[:-1])} or {names[-1]}"


def full_name(thing: Any) -> str:
    """Return the name of a function or class with its module."""
    return f"{thing.__module__}.{thing.__qualname__}"


def short_name(annotation: Any) -> str:
    """Return an annotation as it is written: `BookSold`, `Sequence[BookSold]`."""
    origin, arguments = get_origin(annotation), [short_name(each) for each in get_args(annotation)]
    if origin in (Union, UnionType):
        return " | ".join(arguments)
    if arguments:
        return f"{short_name(origin)}[{', '.join(arguments)}]"
    return getattr(annotation, "__name__", None) or str(annotation)
