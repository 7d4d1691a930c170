"""Signals that end a wait of `slipway canary`, and the terminal that is closed meanwhile."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from devkit.canary.waiting import Interrupted, Stop, stop_on_signals


@contextmanager
def handled(number: signal.Signals, handler: signal.Handlers) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_wait_and_is_handled_as_before_afterwards(number: signal.Signals) -> None:
    stop, said = Stop(), list[str]()
    # A signal that nothing handles ends a process, and this is one of the tests.
    with handled(number, signal.SIG_DFL):
        with stop_on_signals(stop, said.append):
            assert signal.getsignal(number) is not signal.SIG_DFL
            os.kill(os.getpid(), number)
            with pytest.raises(Interrupted):
                stop.pause(60)
        assert signal.getsignal(number) is signal.SIG_DFL
    assert len(said) == 1


def test_a_command_that_nohup_started_outlives_its_terminal() -> None:
    stop = Stop()
    with handled(signal.SIGHUP, signal.SIG_IGN), stop_on_signals(stop, lambda _: None):
        os.kill(os.getpid(), signal.SIGHUP)
        stop.pause(0)
