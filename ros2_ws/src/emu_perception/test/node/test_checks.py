"""From numbers to words: what is well, what is not, and that the reason stands there."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from emu_perception.camera_model.metric_scale import Scale
from emu_perception.node import checks as verdicts
from emu_perception.node.checks import Level
from emu_perception.node.statistics import OUTCOMES, Age, Health, Timing

PROFILE = Path("/opt/fastdds.xml")


@dataclass
class Sender:
    obstacle: str = ""

    def __str__(self):
        return f"/driver (reliable{self.obstacle and '; ' + self.obstacle})"


def report(**given):
    """Of a camera that fares well, at 10 Hz, but for what is given."""
    health = Health()
    health.finished("answered", Timing(0.02, 0.01, Age(0.05)))
    fine = replace(
        health.report(),
        active_s=100.0,
        silence_s=0.1,
        input_rate=10.0,
        output_rate=10.0,
        counts={"in": 1000, **dict.fromkeys(OUTCOMES, 0), "answered": 1000},
        recent={**dict.fromkeys(OUTCOMES, 0), "answered": 100},
        image_bytes=1000,
    )
    return replace(fine, **given)


def recent(**given):
    return {**dict.fromkeys(OUTCOMES, 0), **given}


def of_input(given, *senders, fast_dds=True):
    return verdicts.of_input(given, "/image", senders, fast_dds, PROFILE)


def of_answers(given, answer_bytes=2_000_000, segment=64 << 20, fast_dds=True):
    return verdicts.of_answers(given, answer_bytes, segment, fast_dds)


def test_images_that_come_are_well():
    verdict = of_input(report(), Sender())
    assert (verdict.level, verdict.message) == (Level.OK, "10.0 Hz")
    assert verdict.values["input rate"] == "10.00 Hz"
    assert verdict.values["publishers"] == "/driver (reliable)"


def test_at_first_nothing_is_amiss():
    new = report(counts={"in": 0}, silence_s=1.0, image_bytes=0, input_rate=0.0)
    verdict = of_input(new)
    assert (verdict.level, verdict.message) == (Level.OK, "waiting for the first image")


def test_silence_is_told_with_who_publishes():
    silent = report(silence_s=12.0, counts={"in": 0}, image_bytes=0)
    verdict = of_input(silent)
    assert verdict.level == Level.ERROR
    assert verdict.message == "no image on /image for 12 s; publishers there: none"
    verdict = of_input(silent, Sender("incompatible QoS: best effort"))
    assert "publishers there: /driver (reliable; incompatible QoS: best effort)" in verdict.message
    assert "segment" not in verdict.message, "there is another reason"


def test_silence_of_a_compatible_publisher_may_be_the_images_size():
    silent = report(silence_s=12.0, counts={"in": 0}, image_bytes=0)
    assert "FASTRTPS_DEFAULT_PROFILES_FILE=/opt/fastdds.xml" in of_input(silent, Sender()).message
    assert "FASTRTPS" not in of_input(silent, Sender(), fast_dds=False).message
    small = report(silence_s=12.0)
    assert "FASTRTPS" not in of_input(small, Sender()).message, "its images did come"


def test_one_of_two_publishers_that_nothing_comes_from_is_a_warning():
    verdict = of_input(report(), Sender(), Sender("publishes another type"))
    assert verdict.level == Level.WARN and "another type" in verdict.message


def test_losses_of_large_images_name_the_shared_memory_segment():
    verdict = of_input(report(lost=63, input_rate=3.7, image_bytes=2_764_800), Sender())
    assert verdict.level == Level.WARN
    assert verdict.message.startswith("63 of 100 images were lost on their way: they take 2.8 MB")
    assert "512 KB" in verdict.message and str(PROFILE) in verdict.message
    small = of_input(report(lost=63, input_rate=3.7), Sender())
    assert small.message.endswith("lost on their way: the network or this machine is overloaded")


def test_large_images_that_stall_on_their_way_are_told_with_the_remedy():
    stalling = report(
        image_bytes=2_764_800, age_ms=(60.0, 1150.0), latency_ms=(40.0, 50.0), input_rate=7.0
    )
    verdict = of_input(stalling, Sender())
    assert verdict.level == Level.WARN
    assert "images of 2.8 MB come up to 1.1 s late" in verdict.message
    assert "FASTRTPS_DEFAULT_PROFILES_FILE=/opt/fastdds.xml" in verdict.message
    for other in (
        {"image_bytes": 1000},
        {"latency_ms": (40.0, 1100.0)},  # it is this node that is slow
        {"age_ms": (1140.0, 1150.0)},  # the camera's own delay
        {"age_ms": None},
    ):
        assert of_input(replace(stalling, **other), Sender()).level == Level.OK, other
    assert of_input(stalling, Sender(), fast_dds=False).level == Level.OK


def test_answers_in_time_are_well_and_told_in_numbers():
    verdict = of_answers(report())
    assert (verdict.level, verdict.message) == (Level.OK, "10.0 Hz, inference 10 ms, age 50 ms")
    assert verdict.values["age p99"] == "50.0 ms"
    assert verdict.values["images answered"] == "1000"
    assert verdict.values["last error"] == "none"


def test_nobody_listening_is_no_fault():
    verdict = of_answers(report(recent=recent(unheard=100)))
    assert verdict.level == Level.OK and "nobody subscribes" in verdict.message


@pytest.mark.parametrize(
    ("outcomes", "level"),
    [
        ({"refused": 3, "answered": 5}, Level.WARN),
        ({"refused": 3}, Level.ERROR),
        ({"failed": 3, "answered": 5}, Level.WARN),
        ({"failed": 3}, Level.ERROR),
        ({"dropped": 90, "answered": 10}, Level.OK),
        ({"limited": 90, "answered": 10}, Level.OK),
    ],
)
def test_frames_without_an_answer_for_a_reason_are_told_with_it(outcomes, level):
    given = report(recent=recent(**outcomes), last_error="image refused: step too small")
    verdict = of_answers(given)
    assert verdict.level == level
    assert ("step too small" in verdict.message) == (level != Level.OK)


def test_an_inference_that_does_not_end_is_an_error_and_no_rate_of_zero():
    hanging = report(recent=recent(dropped=299, limited=5), output_rate=0.0)
    verdict = of_answers(hanging)
    assert verdict.level == Level.ERROR
    assert "no image was finished in 10 s, and 299 were dropped meanwhile" in verdict.message
    assert of_answers(replace(hanging, active_s=5.0)).level == Level.OK, (
        "the first may take a while"
    )
    for outcome in ("answered", "unheard"):
        slow = replace(hanging, recent=recent(dropped=299, **{outcome: 1}))
        assert of_answers(slow).level == Level.OK


def test_old_answers_and_unknown_ages_are_warnings():
    verdict = of_answers(report(age_ms=(1500.0, 2000.0), latency_ms=(1200.0, 1300.0)))
    assert verdict.level == Level.WARN
    assert verdict.message == "answers are 1.5 s old, of which this node takes 1.2 s"
    verdict = of_answers(report(age_ms=None, age_doubt="clocks differ"))
    assert (verdict.level, verdict.message) == (Level.WARN, "age unknown: clocks differ")
    assert verdict.values["age p50"] == "unknown"


def test_answers_above_the_node_s_own_segment_are_a_warning():
    verdict = of_answers(report(), segment=512 * 1024)
    assert verdict.level == Level.WARN and "2.0 MB do not fit" in verdict.message
    assert of_answers(report(), segment=512 * 1024, fast_dds=False).level == Level.OK


def test_the_worst_finding_decides_and_comes_first():
    verdict = verdicts.judge([(Level.WARN, "late"), (Level.ERROR, "broken")], "fine", {})
    assert (verdict.level, verdict.message) == (Level.ERROR, "broken; late")


@pytest.mark.parametrize(
    ("state", "level"),
    [
        ("unknown", Level.OK),
        ("verified", Level.OK),
        ("unverified", Level.WARN),
        ("out of view", Level.ERROR),
    ],
)
def test_a_scale_is_as_good_as_its_lens_is_known(state, level):
    verdict = verdicts.of_scale(Scale(state, "why"), "/camera_info", [])
    assert verdict.level == level and verdict.message.startswith("why")
    assert verdict.values["state"] == state


def test_an_unverified_scale_tells_who_publishes_camera_info():
    scale = Scale("unverified", "no camera_info has come")
    for senders, there in (
        ([], "none"),
        ([Sender("of another type")], "/driver (reliable; of an"),
    ):
        message = verdicts.of_scale(scale, "/camera_info", senders).message
        assert f"publishers of /camera_info: {there}" in message


def test_a_lens_without_rays_is_a_warning_with_the_reason():
    verdict = verdicts.of_scale(Scale("verified", "x1"), "/camera_info", [], "no points: why")
    assert (verdict.level, verdict.message) == (Level.WARN, "no points: why; x1")


def test_a_model_that_runs_elsewhere_than_asked_is_an_error():
    values = {"model": "drives"}
    assert verdicts.of_model("cpu", "cpu", values).message == "drives on cpu"
    verdict = verdicts.of_model("cuda", "cpu", values)
    assert verdict.level == Level.ERROR and "cuda cannot be had" in verdict.message
    assert verdict.values == {"model": "drives", "provider": "cpu"}


def test_a_failed_transition_is_an_error_of_the_state():
    assert verdicts.of_state("active", "", 5_000_000).message == "active"
    assert verdicts.of_state("active", "", 5_000_000).values["memory"] == "5 MB"
    verdict = verdicts.of_state("unconfigured", "cannot configure: no file", 0)
    assert (verdict.level, verdict.message) == (Level.ERROR, "cannot configure: no file")
