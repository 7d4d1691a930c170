"""Each example of deploy/istio/examples does what it says, on the real services."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest
from mesh import Answers, Mesh

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

REQUESTS = 2000
# Three standard deviations of a draw of one in ten: 3 · √(2,000 · 0.1 · 0.9) = 40.2.
DEVIATION = 40
JASON = {"end-user": "jason"}
ANNA = {"end-user": "anna"}
INSIDE = ("gateway", 8080)
ENTRY = ("slipway-istio", 80)


def products(mesh: Mesh, count: int, **headers: str) -> Counter[str]:
    """Count `count` requests of the API by the version of inventory that answered the gateway."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Counter(asked(mesh, count, named).counts)


def gateways_answering(
    mesh: Mesh, count: int, at: tuple[str, int] = INSIDE, **headers: str
) -> Counter[str]:
    """Count `count` requests of the API by the version of the gateway that answered."""
    before = mesh.count("gateway", "http_requests_total", handler="/products")
    answers = asked(mesh, count, headers, at).counts
    assert sum(n for answer, n in answers.items() if answer.startswith("200 ")) == count, answers
    seen = mesh.count("gateway", "http_requests_total", handler="/products") - before
    assert seen.total() == count, "a request was repeated"
    return seen


def asked(mesh: Mesh, count: int, headers: dict[str, str], at: tuple[str, int] = INSIDE) -> Answers:
    host, port = at
    at_once = 4 if count % 4 == 0 else 1
    path = "/products?limit=1"
    return mesh.ask(path, host=host, port=port, count=count, at_once=at_once, headers=headers)


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait until `holds`, because a route takes effect some moments after it is made."""
    ends_at = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends_at, f"not in force: {what}"


def mostly_v1(mesh: Mesh, **headers: str) -> bool:
    """Return whether the answers look like 90/10 rather than 50/50."""
    seen = products(mesh, 100, **headers)
    return seen.total() == 100 and 0 < seen["200 v2"] < 30


def is_a_tenth(seen: int) -> bool:
    """Return whether `seen` of 2,000 is within three standard deviations of a tenth.

    A correct mesh fails this once in 370 runs by chance; such a failure does not repeat.
    """
    return abs(seen - REQUESTS / 10) <= DEVIATION


def test_weights_split_grpc_calls_nine_to_one(mesh: Mesh) -> None:
    mesh.release("inventory", "v1", "versions", "weights")
    eventually(lambda: mostly_v1(mesh), "weights")
    before = mesh.products_listed()
    seen = products(mesh, REQUESTS)
    print(f"gRPC 90/10 of 2,000: {dict(seen)}")
    assert seen.total() == seen["200 v1"] + seen["200 v2"] == REQUESTS
    # The pods answered exactly these calls, so that no call was sent twice.
    assert mesh.products_listed() - before == {v: seen[f"200 {v}"] for v in ("v1", "v2")}
    assert is_a_tenth(seen["200 v2"])


def test_weights_split_http_requests_nine_to_one(mesh: Mesh) -> None:
    mesh.release("gateway", "v1", "versions", "weights-http")
    eventually(lambda: 0 < gateways_answering(mesh, 100)["v2"] < 30, "weights-http")
    seen = gateways_answering(mesh, REQUESTS)
    print(f"HTTP 90/10 of 2,000: {dict(seen)}")
    assert is_a_tenth(seen["v2"])
    mesh.release("gateway", "v1")


def test_weights_split_what_comes_in_from_outside_nine_to_one(mesh: Mesh) -> None:
    mesh.release("gateway", "v1", "weights-entry")
    eventually(lambda: 0 < gateways_answering(mesh, 100, ENTRY)["v2"] < 30, "weights-entry")
    seen = gateways_answering(mesh, REQUESTS, ENTRY)
    print(f"HTTP 90/10 of 2,000 at the entry: {dict(seen)}")
    assert is_a_tenth(seen["v2"])
    mesh.release("gateway", "v1")


def test_jason_is_always_answered_by_v2_and_the_others_nine_to_one(mesh: Mesh) -> None:
    mesh.release("inventory", "v1", "versions", "end-user")
    eventually(lambda: products(mesh, 40, end_user="jason") == {"200 v2": 40}, "end-user")
    assert products(mesh, 400, end_user="jason") == {"200 v2": 400}
    assert mostly_v1(mesh, end_user="anna")
    assert mostly_v1(mesh)


def test_a_cookie_chooses_the_gateways_version(mesh: Mesh) -> None:
    mesh.release("gateway", "v1", "versions", "cookie")
    eventually(lambda: gateways_answering(mesh, 20, cookie="group=b") == {"v2": 20}, "cookie")
    assert gateways_answering(mesh, 100, cookie="theme=dark; group=b") == {"v2": 100}
    assert gateways_answering(mesh, 100, cookie="theme=dark; group=a") == {"v1": 100}
    assert gateways_answering(mesh, 100) == {"v1": 100}
    mesh.release("gateway", "v1")


def test_copies_of_all_calls_reach_v2_and_never_answer(mesh: Mesh) -> None:
    def copied(count: int) -> bool:
        before = mesh.products_listed()
        if products(mesh, count) != {"200 v1": count}:
            return False
        # A copy may arrive after the answer.
        for _ in range(20):
            seen = mesh.products_listed() - before
            if seen == {"v1": count, "v2": count}:
                return True
            time.sleep(0.2)
        return False

    mesh.release("inventory", "v1", "versions", "mirror")
    eventually(lambda: copied(20), "mirror")
    assert copied(200)


def test_faults_reach_only_the_users_they_are_for(mesh: Mesh) -> None:
    mesh.release("inventory", "v1", "versions", "fault")
    eventually(lambda: products(mesh, 4, end_user="anna") == {"503": 4}, "fault")
    delayed = asked(mesh, 8, JASON)
    assert delayed.counts == {"200 v1": 8}
    assert delayed.shortest_seconds >= 2
    before = mesh.products_listed()
    assert asked(mesh, 20, ANNA).counts == {"503": 20}
    assert mesh.products_listed() - before == {}, "no try of these has reached inventory"
    assert products(mesh, 40) == {"200 v1": 40}


def test_weights_change_under_load_without_a_failed_request(mesh: Mesh) -> None:
    route = "mesh.routes.grpc"
    ended = threading.Event()
    seen: Counter[str] = Counter()

    def load() -> None:
        while not ended.is_set():
            seen.update(products(mesh, 400))

    mesh.release("inventory", "v1", "versions", "weights")
    eventually(lambda: mostly_v1(mesh), "weights")
    loading = threading.Thread(target=load)
    loading.start()
    try:
        for weight in (50, 90, 100, 0):
            weights = {"v1": 100 - weight, "v2": weight}
            targets = [
                {"destination": {"host": "inventory", "subset": subset}, "weight": share}
                for subset, share in weights.items()
            ]
            mesh.release("inventory", "v1", "versions", **{route: [{"route": targets}]})
            eventually(partial(shifted, mesh, weight), f"weight {weight}")
    finally:
        ended.set()
        loading.join()
    print(f"requests while weights changed: {dict(seen)}")
    assert set(seen) == {"200 v1", "200 v2"}


def shifted(mesh: Mesh, weight: int) -> bool:
    """Return whether the load of two seconds is split approximately by this weight."""
    last = mesh.products_listed()
    time.sleep(2)
    seen = mesh.products_listed() - last
    return seen.total() > 0 and abs(100 * seen["v2"] / seen.total() - weight) <= 20
