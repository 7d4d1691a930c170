"""The lint of read-only methods: callers retry them, so a method must stay read-only.

`buf breaking` would also refuse a method that becomes read-only, which breaks no caller.
"""

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions

__all__ = ["no_longer_reading"]


def no_longer_reading(image: FileDescriptorSet, baseline: FileDescriptorSet) -> Iterator[str]:
    """Yield a line for each method that was released as read-only and is not marked so now."""
    now = dict(_read_only_by_method(image))
    for name, only_reads in _read_only_by_method(baseline):
        if only_reads and now.get(name) is False:
            yield (
                f"{name}: it was released with idempotency_level = NO_SIDE_EFFECTS, and its callers"
                " rely on that; restore it, or add another method"
            )


def _read_only_by_method(image: FileDescriptorSet) -> Iterator[tuple[str, bool]]:
    for file in image.file:
        for service in file.service:
            for method in service.method:
                level = method.options.idempotency_level
                name = f"{file.package}.{service.name}.{method.name}"
                yield name, level == MethodOptions.NO_SIDE_EFFECTS
