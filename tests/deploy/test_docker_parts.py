"""Two test sessions share one Docker engine: neither deletes the other's images."""

from collections.abc import Iterator

import pytest
from docker_parts import docker_output, inspect, random_name, remove_tagged, running

_DOCKERFILE = b"FROM nats:2-alpine\nLABEL of=test_docker_parts\n"

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("engine")]


@pytest.fixture
def tags() -> Iterator[tuple[str, str]]:
    """Tags of two sessions that have built the same content, and so have one image."""
    ours, theirs = f"shop:{random_name()}", f"shop:{random_name()}"
    docker_output("build", "--tag", ours, "--tag", theirs, "-", stdin=_DOCKERFILE)
    yield ours, theirs
    for tag in (ours, theirs):
        remove_tagged(tag)


def test_removing_tags_leaves_the_tag_of_another_session_on_the_same_image(
    tags: tuple[str, str],
) -> None:
    ours, theirs = tags
    with running(theirs, command=("-js",)):
        remove_tagged(ours)
        assert inspect(theirs)["RepoTags"]
    assert not docker_output("images", "--quiet", ours)


def test_removing_tags_that_nothing_has_is_not_an_error() -> None:
    remove_tagged(f"*:{random_name()}*")
