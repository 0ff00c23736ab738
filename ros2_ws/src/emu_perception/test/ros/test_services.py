"""Calls whose responses are lost, with a client that is written down here."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")

from rclpy.task import Future

from emu_perception.ros.services import RepeatedCall, call


class LosingClient:
    """A client that loses its first responses, or whose server is not there yet."""

    def __init__(self, lost: int, away: int = 0) -> None:
        self.lost, self.away = lost, away
        self.requests = []

    def service_is_ready(self):
        self.away -= 1
        return self.away < 0

    def call_async(self, request):
        self.requests.append(request)
        future = Future()
        if len(self.requests) > self.lost:
            future.set_result(f"response {len(self.requests)}")
        return future


@pytest.mark.parametrize("away", [0, 3])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_response_is_requested_again(lost, away):
    client = LosingClient(lost, away)
    repeated = RepeatedCall(client, "request", repeat_s=0.0)
    assert repeated.result() is None
    assert [repeated.is_done() for _ in range(away + lost + 2)] == [
        *[False] * (away + lost + 1),
        True,
    ]
    assert repeated.result() == f"response {lost + 1}"
    assert client.requests == ["request"] * (lost + 1)


def test_a_request_is_not_repeated_before_its_time():
    client = LosingClient(lost=9)
    repeated = RepeatedCall(client, "request", repeat_s=3600.0)
    assert not any(repeated.is_done() for _ in range(5))
    assert client.requests == ["request"]


def test_a_call_gives_the_response_or_none_after_the_timeout():
    assert call(LosingClient(lost=0), "request", lambda: None, timeout_s=30.0) == "response 1"
    spins = []
    assert call(LosingClient(lost=9), "request", lambda: spins.append(1), timeout_s=0.01) is None
    assert spins
