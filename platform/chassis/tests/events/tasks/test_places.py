"""Places for tasks are shared between types: no type has all of them, and each has one."""

import pytest

from chassis.events.tasks.places import Places

pytestmark = pytest.mark.unit


def occupy(places: Places, type: str, times: int) -> None:
    for _ in range(times):
        places.occupy(type)


def test_one_type_has_all_places_if_it_is_the_only_one() -> None:
    assert Places(["a"], 16).share(["a"]) == {"a": 16}


def test_a_quarter_stays_for_others_even_if_nothing_else_is_due() -> None:
    assert Places(["a", "b"], 16).share(["a"]) == {"a": 12}


def test_each_type_keeps_a_place_even_if_others_could_fill_it() -> None:
    types = [f"type {n}" for n in range(6)]
    places = Places(types, 8)
    shares = places.share(types)
    assert shares == {"type 0": 3, **dict.fromkeys(types[1:], 1)}
    for type, more in shares.items():
        occupy(places, type, more)
    assert places.share(types) == {}


def test_a_place_stays_free_for_a_type_that_becomes_due_later() -> None:
    places = Places(["a", "b", "c"], 4)
    for _ in range(3):
        for type, more in places.share(["a", "b"]).items():
            occupy(places, type, more)
    assert places.share(["a", "b"]) == {}
    assert places.share(["a", "b", "c"]) == {"c": 1}


def test_a_vacated_place_is_shared_again() -> None:
    places = Places(["a"], 2)
    occupy(places, "a", 2)
    assert places.share(["a"]) == {}
    places.vacate("a")
    assert places.share(["a"]) == {"a": 1}


def test_more_types_than_places_share_them_in_turn() -> None:
    types = ["a", "b", "c"]
    places = Places(types, 2)
    assert places.share(types) == {"a": 1, "b": 1}
    assert Places(types, 1).share(["b"]) == {"b": 1}
