"""Diagnostic statuses: the level, the reason and the values for given statistics."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from emu_perception.camera_model.metric_scale import MetricScale
from emu_perception.node import checks
from emu_perception.node.checks import Level, Status
from emu_perception.node.statistics import OUTCOMES, CameraStatistics
from emu_perception.ros import dds
from emu_perception.ros.dds import Transport

OK, WARN, ERROR = Level
PROFILE = f"FASTRTPS_DEFAULT_PROFILES_FILE={dds.profile()}"
LARGE = 2_764_800  # bytes
FAST_DDS = Transport("rmw_fastrtps_cpp", segment=64 << 20, total=8 << 30, free=4 << 30)
CONTAINER = replace(FAST_DDS, segment=0, total=64 << 20, free=60 << 20)
ZENOH = replace(FAST_DDS, middleware="rmw_zenoh_cpp", segment=0)
CYCLONE = replace(ZENOH, middleware="rmw_cyclonedds_cpp")

GOOD = ("/driver (reliable)", "")
BAD = ("/driver (reliable; incompatible QoS: best effort)", "incompatible QoS: best effort")


def recent(**given):
    return {**dict.fromkeys(OUTCOMES, 0), **given}


NORMAL = replace(
    CameraStatistics().snapshot(),
    active_s=100.0,
    silence_s=0.1,
    input_rate=10.0,
    output_rate=10.0,
    durations_ms={"age": (50.0, 50.0), "latency": (20.0, 20.0), "inference": (10.0, 10.0)},
    counts={"in": 1000, **recent(processed=1000)},
    recent=recent(processed=100),
    image_bytes=1000,
)
"""A camera without problems, at 10 Hz."""

SILENT = replace(NORMAL, silence_s=12.0, counts={"in": 0}, image_bytes=0)


def subscription(*publishers, hint=""):
    return SimpleNamespace(
        topic="/topic", publishers=lambda: publishers, other_transport=lambda: hint
    )


def input_status(publishers=(GOOD,), statistics=NORMAL, transport=FAST_DDS, **given):
    return checks.input_status(replace(statistics, **given), subscription(*publishers), transport)


def output_status(transport=FAST_DDS, **given):
    return checks.output_status(replace(NORMAL, **given), 2_000_000, transport)


def scale_status(state, text, *publishers, no_points=""):
    lens = SimpleNamespace(scale=MetricScale(state, text), no_points=no_points)
    return checks.scale_status(lens, subscription(*publishers))


def summary(status):
    return status.level, status.message


def test_images_that_arrive_are_ok():
    status = input_status()
    assert summary(status) == (OK, "10.0 Hz")
    assert status.values["input rate"] == "10.00 Hz"
    assert status.values["publishers"] == "/driver (reliable)"


def test_an_input_is_ok_before_the_first_image():
    new = {"counts": {"in": 0}, "silence_s": 1.0, "image_bytes": 0, "input_rate": 0.0}
    assert summary(input_status((), **new)) == (OK, "waiting for the first image")


def test_silence_is_an_error_that_names_the_publishers():
    expected = (ERROR, "no image on /topic for 12 s; publishers: none")
    assert summary(input_status((), SILENT)) == expected
    message = input_status((BAD,), SILENT).message
    assert "publishers: /driver (reliable; incompatible QoS: best effort)" in message
    assert PROFILE not in message, "there is another reason"


def test_silence_names_the_transport_that_is_published():
    images = subscription(hint="/topic/compressed is published: set image_transport:=compressed")
    status = checks.input_status(SILENT, images, FAST_DDS)
    assert status.message.endswith(
        "publishers: none; /topic/compressed is published: set image_transport:=compressed"
    )


def test_silence_of_a_compatible_publisher_may_come_from_the_image_size():
    assert PROFILE in input_status(statistics=SILENT).message
    assert PROFILE not in input_status(statistics=SILENT, transport=CYCLONE).message
    assert PROFILE not in input_status(silence_s=12.0).message, "small images did arrive"


def test_one_unusable_publisher_of_two_is_a_warning():
    status = input_status((GOOD, BAD))
    assert status.level == WARN and "best effort" in status.message


def test_lost_large_images_name_the_dds_profile():
    status = input_status(lost=63, input_rate=3.7, image_bytes=LARGE)
    assert status.level == WARN
    assert status.message.startswith("63 of 100 images of 2.8 MB were lost in transport: raw")
    assert "512 KB" in status.message and PROFILE in status.message
    unknown = input_status(statistics=SILENT, lost=100, input_rate=0.0).message
    assert "100 of 100 images of unknown size were lost in transport: raw" in unknown
    small = input_status(lost=63, input_rate=3.7)
    assert small.message.endswith("lost in transport: the network or this machine is overloaded")


def test_large_images_that_stall_in_transport_are_a_warning():
    stalling = replace(
        NORMAL, image_bytes=LARGE, durations_ms={"age": (60.0, 1150.0), "latency": (40.0, 50.0)}
    )
    status = input_status(statistics=stalling)
    assert status.level == WARN and PROFILE in status.message
    assert "images of 2.8 MB arrive up to 1.1 s late" in status.message
    slow_node = {"age": (60.0, 1150.0), "latency": (40.0, 1100.0)}
    slow_camera = {"age": (1140.0, 1150.0), "latency": (40.0, 50.0)}
    for other in (
        {"image_bytes": 1000},
        {"durations_ms": slow_node},
        {"durations_ms": slow_camera},
        {"durations_ms": {"latency": (40.0, 50.0)}},
        {"transport": CYCLONE},
    ):
        assert input_status(statistics=stalling, **other).level == OK, other


def test_outputs_in_time_are_ok():
    status = output_status()
    assert summary(status) == (OK, "10.0 Hz, inference 10 ms, age 50 ms")
    assert status.values["age p99"] == "50.0 ms"
    assert status.values["images processed"] == "1000"
    assert status.values["last error"] == "none"


def test_outputs_without_subscribers_are_ok():
    status = output_status(recent=recent(no_subscriber=100))
    assert status.level == OK and "no output has a subscriber" in status.message


@pytest.mark.parametrize(
    ("outcomes", "level"),
    [
        ({"refused": 3, "processed": 5}, WARN),
        ({"refused": 3}, ERROR),
        ({"failed": 3, "processed": 5}, WARN),
        ({"failed": 3}, ERROR),
        ({"dropped": 90, "processed": 10}, OK),
        ({"limited": 90, "processed": 10}, OK),
    ],
)
def test_refused_and_failed_images_are_reported_with_the_last_error(outcomes, level):
    status = output_status(recent=recent(**outcomes), last_error="image refused: step too small")
    assert status.level == level
    assert ("step too small" in status.message) == (level != OK)


def test_an_inference_that_does_not_end_is_an_error():
    hanging = {"recent": recent(dropped=299, limited=5), "output_rate": 0.0}
    status = output_status(**hanging)
    assert status.level == ERROR
    assert "no image was finished in 10 s, and 299 were dropped" in status.message
    assert output_status(**hanging, active_s=5.0).level == OK, "the first one may take a while"
    for outcome in ("processed", "no_subscriber"):
        assert output_status(recent=recent(dropped=299, **{outcome: 1})).level == OK


def test_old_outputs_and_unknown_ages_are_warnings():
    status = output_status(durations_ms={"age": (1500.0, 2000.0), "latency": (1200.0, 1300.0)})
    assert summary(status) == (WARN, "outputs are 1.5 s old, of which this node takes 1.2 s")
    status = output_status(durations_ms={}, age_problem="clocks differ")
    assert summary(status) == (WARN, "age unknown: clocks differ")
    assert status.values["age p50"] == "unknown"


def test_lost_images_name_the_shared_memory_of_the_container_and_zenoh_s_settings():
    lost = {"lost": 63, "input_rate": 3.7, "image_bytes": LARGE}
    message = input_status(**lost, transport=CONTAINER).message
    assert "in transport: /dev/shm has 60.0 MB of 64.0 MB free: run the container with" in message
    assert "--ipc=host or --shm-size" in message
    # The profile for the driver is one that fits there.
    assert str(dds.profile(16 << 20)) in message and "FASTDDS_DEFAULT_PROFILES_FILE" in message
    message = input_status(**lost, transport=ZENOH).message
    assert "transport/shared_memory/enabled" in message and "router" in message
    assert "overloaded" in input_status(**lost, transport=CYCLONE).message
    chosen = replace(CONTAINER, choice="FASTDDS_BUILTIN_TRANSPORTS=UDPv4", excluded=True)
    message = input_status(**lost, transport=chosen).message
    assert "UDPv4 excludes shared memory: raise" in message and "container" not in message


def test_outputs_larger_than_the_segment_that_exists_are_a_warning():
    status = output_status(replace(FAST_DDS, segment=512 * 1024))
    assert status.level == WARN
    expected = "2.0 MB may be delayed: the shared-memory segment of this process has 0.5 MB"
    assert status.message.endswith(expected)
    for other in (
        FAST_DDS,
        ZENOH,
        replace(CONTAINER, choice="FASTDDS_BUILTIN_TRANSPORTS=UDPv4", excluded=True),
    ):
        status = output_status(other)
        assert status.level == OK and status.values["transport"] == str(other)
    message = output_status(CONTAINER).message
    assert "this process could not be opened; /dev/shm has 60.0 MB of 64.0 MB free: run" in message
    own = replace(FAST_DDS, segment=0, choice="FASTDDS_DEFAULT_PROFILES_FILE=/my.xml")
    assert f"(FASTDDS_DEFAULT_PROFILES_FILE=/my.xml): use the transports of {dds.profile()}" in (
        output_status(own).message
    )


def test_the_worst_problem_decides_and_comes_first():
    status = Status("fine", {}, [(WARN, "late"), (ERROR, "broken")])
    assert summary(status) == (ERROR, "broken; late")


@pytest.mark.parametrize(
    ("state", "level"),
    [("unknown", OK), ("verified", OK), ("unverified", WARN), ("out of view", ERROR)],
)
def test_the_level_of_a_scale_follows_from_its_state(state, level):
    status = scale_status(state, "why")
    assert status.level == level and status.message.startswith("why")
    assert status.values["state"] == state


def test_an_unverified_scale_names_the_publishers_of_camera_info():
    message = scale_status("unverified", "no camera_info", GOOD).message
    assert "publishers of /topic: /driver (reliable)" in message


def test_a_lens_without_points_is_a_warning_with_the_reason():
    status = scale_status("verified", "x1", no_points="no points: why")
    assert summary(status) == (WARN, "no points: why")


def test_a_model_on_another_provider_than_requested_is_an_error():
    values = {"model": "drives"}
    assert checks.model_status("cpu", "cpu", values).message == "drives on cpu"
    status = checks.model_status("cuda", "cpu", values)
    assert summary(status) == (ERROR, "the provider cuda is not available: running on cpu")
    assert not checks.model_status("auto", "openvino", values).problems
    assert status.values == {"model": "drives", "provider": "cpu"}


def test_a_failed_transition_is_an_error_of_the_state():
    status = checks.state_status("active", "", 5_000_000)
    assert summary(status) == (OK, "active") and status.values["memory"] == "5 MB"
    status = checks.state_status("unconfigured", "cannot configure: no file", 0)
    assert summary(status) == (ERROR, "cannot configure: no file")
