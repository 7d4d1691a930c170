"""The lint of methods that only read: callers rely on it, and `buf breaking` forbids every change.

`buf` would also refuse that a method begins to only read, which breaks nobody.
"""

from collections.abc import Iterator

from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions

__all__ = ["no_longer_reading"]


def no_longer_reading(image: FileDescriptorSet, baseline: FileDescriptorSet) -> Iterator[str]:
    """Each method that was released as one that only reads and is not marked so any more."""
    now = dict(_methods(image))
    for name, only_reads in _methods(baseline):
        if only_reads and now.get(name) is False:
            yield (
                f"{name}: it was released with idempotency_level = NO_SIDE_EFFECTS, and its callers"
                " rely on that; put it back, or make another method beside it"
            )


def _methods(image: FileDescriptorSet) -> Iterator[tuple[str, bool]]:
    for file in image.file:
        for service in file.service:
            for method in service.method:
                level = method.options.idempotency_level
                name = f"{file.package}.{service.name}.{method.name}"
                yield name, level == MethodOptions.NO_SIDE_EFFECTS
