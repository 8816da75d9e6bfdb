"""Signals: the first ends what is being done, and what is kept; two at nearly one time are one."""

import os
import signal
import time

import pytest

from machine import interrupts
from machine.interrupts import Ended, deferred_interrupt, listen


@pytest.fixture(autouse=True)
def listening(monkeypatch):
    """As in a program, which every signal here is the first to come to."""
    handlers = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    monkeypatch.setattr(interrupts, "_came", -1e9)
    listen()
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", interrupts.SIGNALS)
def test_every_signal_is_like_ctrl_c(number):
    """A second one 20 ms later belongs to it, also when what was deferred is over by then."""
    with pytest.raises(Ended) as ended:
        send(number)
    assert ended.value.number == number
    time.sleep(0.02)
    send(number)
    reached = []
    try:
        with deferred_interrupt() as pressed:
            send(number)
            time.sleep(0.02)
            send(number)
            with deferred_interrupt() as inner:  # as in training, whose outcome is kept outside
                assert inner is pressed
            reached.append("kept")
        reached.append("went on")
    except Ended:
        reached.append("ended")
    assert pressed == [number]
    assert reached == ["kept", "went on" if number == signal.SIGINT else "ended"]
    send(number)  # of the same key press


def test_a_later_one_ends_at_once(monkeypatch):
    monkeypatch.setattr(interrupts, "TOGETHER", 0.05)
    with pytest.raises(Ended), deferred_interrupt():
        send(signal.SIGINT)
        time.sleep(0.06)
        send(signal.SIGTERM)
        pytest.fail("went on")


def test_nohup_holds():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    listen()
    send(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_signal_after_all_is_done_is_no_matter():
    interrupts.ignore()
    for number in interrupts.SIGNALS:
        send(number)
