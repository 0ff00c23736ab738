"""The node's lifecycle: driven from outside, around and around, and through failures."""

import threading
import weakref
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy), from a robot or from the wheels")
pytest.importorskip("onnx", reason="needs onnx, to make a model file")

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from helpers.camera_rig import CameraRig, counts, image_message
from helpers.remote import Remote
from helpers.ros_processes import TIMEOUT_S, wait_until
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn

from emu_core.runtime.dummy_model import make_dummy_model
from emu_perception.errors import UserError
from emu_perception.node import lifecycle as camera_node

MANUAL = ("-p", "autostart:=false")


@pytest.fixture(scope="module")
def managed(domain, model):
    """A node that waits to be configured; every test leaves it unconfigured."""
    rig = CameraRig(domain, "/managed", topics=["semantic/image", "depth/image"])
    with rig.node("-p", f"model:={model}", *MANUAL) as process:
        rig.process, rig.remote = process, Remote(rig.ros, "/managed/emu_perception")
        yield rig


def gray():
    return image_message("mono8", 8, 8, bytes(64))


def bring_down(remote):
    assert remote.change("deactivate") and remote.change("cleanup")
    assert remote.state() == "unconfigured"


def test_a_manager_takes_the_node_up_and_down_again(managed):
    remote = managed.remote
    assert remote.state() == "unconfigured"
    assert managed.camera.get_subscription_count() == 0
    assert remote.change("configure") and remote.state() == "inactive"
    assert managed.camera.get_subscription_count() == 0, "images are for an active node"
    assert remote.change("activate") and remote.state() == "active"
    managed.wait_for_answers()
    assert remote.change("deactivate") and remote.state() == "inactive"
    managed.ros.wait_until(
        lambda: managed.camera.get_subscription_count() == 0, "the end of the subscription"
    )
    assert remote.change("activate")
    managed.wait_for_answers()
    bring_down(remote)
    topic = "/managed/emu_perception/semantic/image"
    managed.ros.wait_until(
        lambda: managed.ros.node.count_publishers(topic) == 0, "the end of the topics"
    )


def test_a_node_that_configures_says_so_before_it_is_busy(managed):
    remote = managed.remote
    remote.next_statuses()
    remote.states.clear()
    assert remote.change("configure")
    managed.ros.wait_until(lambda: "inactive" in remote.states, "the next heartbeat")
    assert remote.states[remote.states.index("inactive") - 1] == "configuring"
    assert remote.change("cleanup")


def test_a_transition_that_is_not_possible_now_is_answered_with_no(managed):
    remote = managed.remote
    assert not remote.change("activate")
    assert remote.change("configure")
    assert not remote.change("configure")
    assert remote.state() == "inactive"
    assert remote.change("cleanup")
    assert "Traceback" not in managed.process.output


def resources(pid: int) -> dict[str, float]:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    return {
        "threads": int(status["Threads"]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "megabytes": int(status["VmRSS"].split()[0]) / 1024,
    }


def test_sixty_rounds_leave_threads_files_and_memory_as_they_were(managed):
    remote, pid = managed.remote, managed.process.process.pid

    def rounds(count):
        for _ in range(count):
            assert remote.change("configure") and remote.change("activate")
            bring_down(remote)

    rounds(20)  # allocators and caches settle
    before = resources(pid)
    rounds(60)
    after = resources(pid)
    assert after["threads"] == before["threads"]
    assert after["files"] == before["files"]
    assert after["megabytes"] - before["megabytes"] < 3, "a session takes more, 60 times"


def test_many_activations_leave_one_publisher_and_one_subscription(managed):
    remote = managed.remote
    assert remote.change("configure")
    for _ in range(20):
        assert remote.change("activate") and remote.change("deactivate")
    assert remote.change("activate")
    managed.wait_for_answers()
    node = managed.ros.node
    for count, what in (
        (lambda: node.count_publishers("/managed/emu_perception/depth/image"), "publisher"),
        (lambda: node.count_subscribers("/managed/image"), "subscription"),
        (lambda: node.count_subscribers("/managed/camera_info"), "subscription"),
    ):
        managed.ros.wait_until(lambda count=count: count() == 1, f"one {what}")
    bring_down(remote)


# --- failures


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("model", "/nowhere/at_all.onnx", "no model file at /nowhere/at_all.onnx"),
        ("provider", "tensorrt", "the provider 'tensorrt'.* cannot be used for .*dummy.onnx"),
    ],
)
def test_a_mistake_fails_the_configuration_and_can_be_mended(managed, name, wrong, said):
    remote = managed.remote
    right = remote.get(name)
    assert remote.set(name, wrong) == ""
    assert not remote.change("configure")
    assert remote.state() == "unconfigured"
    managed.process.wait_for_line(f"cannot configure: .*{said}")
    remote.wait_for_status("state", DiagnosticStatus.ERROR, said)
    assert remote.set(name, right) == ""
    assert remote.change("configure") and remote.change("activate")
    managed.wait_for_answers()
    remote.wait_for_status("state", DiagnosticStatus.OK, "active")
    bring_down(remote)


def test_a_corrupt_model_file_fails_the_configuration_with_its_name(managed, models, model):
    remote, path = managed.remote, models / "corrupt.onnx"
    path.write_bytes(model.read_bytes()[:3000])
    assert remote.set("model", str(path)) == ""
    assert not remote.change("configure")
    managed.process.wait_for_line(rf"{path} .*truncated")
    assert remote.set("model", str(model)) == ""


def test_an_engine_that_computes_something_else_is_refused_with_the_error(managed, models, model):
    other = make_dummy_model(models / "other.onnx", (48, 64), canonical_focal=100.0)
    liar = models / "liar.onnx"
    _swap_red_and_green(other, liar)
    remote = managed.remote
    assert remote.set("model", str(liar)) == ""
    assert not remote.change("configure")
    managed.process.wait_for_line(rf"{liar} does not give its own reference's answers.*depth_std")
    assert remote.set("model", str(model)) == ""


def _swap_red_and_green(source, target):
    """A copy of a dummy model whose deviation follows green, unlike its reference."""
    import onnx

    model = onnx.load(source)
    spread = next(node for node in model.graph.node if "spread" in node.output)
    spread.input[0] = "float1"
    onnx.save(model, target)


@pytest.fixture
def local_node(domain, model):
    """The node inside this process, where its parts can be made to fail."""
    rclpy.init(domain_id=domain, args=["--ros-args", "-p", f"model:={model}"])
    node = camera_node.CameraNode()
    yield node
    node.close()
    node.destroy_node()
    rclpy.try_shutdown()


def test_an_unexpected_error_leaves_a_node_that_can_be_configured_again(local_node, monkeypatch):
    class Broken:
        def __init__(self, *arguments, **options):
            raise RuntimeError("device lost")

    with monkeypatch.context() as patch:
        patch.setattr(camera_node, "Perceiver", Broken)
        assert local_node.trigger_configure() == TransitionCallbackReturn.ERROR
    status = dict(local_node._verdicts())["state"]
    assert "device lost" in status.message and status.level == 2
    assert status.values["state"] == "unconfigured"
    assert local_node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert local_node.trigger_activate() == TransitionCallbackReturn.SUCCESS


def test_cleaning_up_frees_the_model_though_an_executor_remembers_a_subscription(local_node):
    local_node.bring_up()
    model = weakref.ref(local_node._perceiver)
    remembered = list(local_node.subscriptions)
    assert local_node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert local_node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert len(remembered) >= 2 and model() is None


def test_an_unexpected_error_ends_an_automatic_start_with_its_reason(local_node, monkeypatch):
    monkeypatch.setattr(camera_node.Camera, "open", lambda camera, take: 1 / 0)
    with pytest.raises(UserError, match=r"cannot activate.*ZeroDivisionError"):
        local_node.bring_up()


def test_services_answer_while_an_inference_runs(local_node, monkeypatch, domain):
    at_work, go_on = threading.Event(), threading.Event()
    perceive = camera_node.Perceiver.perceive

    def slow(perceiver, rgb, focal=None):
        at_work.set()
        assert go_on.wait(TIMEOUT_S)
        return perceive(perceiver, rgb, focal)

    monkeypatch.setattr(camera_node.Perceiver, "perceive", slow)
    local_node.bring_up()
    executor = SingleThreadedExecutor()
    executor.add_node(local_node)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    rig = CameraRig(domain, "", topics=["depth/image"])
    remote = Remote(rig.ros, "/emu_perception")
    rig.wait_for_node()
    wait_until(at_work.is_set, "an inference", lambda: (rig.send(gray()), rig.ros.spin()))
    assert remote.state() == "active"
    assert remote.set("jpeg_quality", 50) == ""
    assert "answers" in remote.next_statuses()
    go_on.set()
    rig.wait_for_answers()
    rig.ros.close()
    executor.shutdown()
    spinning.join(TIMEOUT_S)
    assert not spinning.is_alive()


def test_an_error_while_activating_gives_everything_back(local_node, monkeypatch):
    assert local_node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    before = len(list(local_node.publishers))
    with monkeypatch.context() as patch:
        patch.setattr(camera_node.Camera, "open", lambda camera, take: 1 / 0)
        assert local_node.trigger_activate() == TransitionCallbackReturn.ERROR
    assert len(list(local_node.publishers)) < before
    assert local_node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert len(list(local_node.publishers)) == before
    assert local_node.trigger_activate() == TransitionCallbackReturn.SUCCESS


def test_an_inference_that_does_not_end_is_an_error_of_the_deactivation(local_node, monkeypatch):
    assert local_node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert local_node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(camera_node.Worker, "close", lambda worker: False)
        assert local_node.trigger_deactivate() == TransitionCallbackReturn.ERROR
    assert "does not end" in dict(local_node._verdicts())["state"].message


def test_a_shutdown_from_outside_ends_the_node_s_work_but_not_its_process(domain, model):
    rig = CameraRig(domain, "/ended", topics=["semantic/image"])
    with rig.node("-p", f"model:={model}") as process:
        remote = Remote(rig.ros, "/ended/emu_perception")
        rig.wait_for_answers()
        assert remote.change("deactivate") and remote.change("shutdown")
        assert remote.state() == "finalized"
        assert process.stop() == 0
    assert "frames: " in process.output


def test_a_frame_at_work_is_finished_before_the_node_is_inactive(domain, models):
    slow = make_dummy_model(models / "slow.onnx", (1024, 2048))
    rig = CameraRig(domain, "/finishing", topics=["semantic/image"])
    with rig.node("-p", f"model:={slow}", "-p", "threads:=1") as process:
        remote = Remote(rig.ros, "/finishing/emu_perception")
        rig.wait_for_answers()
        for _ in range(3):
            rig.send(gray())
        assert remote.change("deactivate")
        assert process.stop() == 0
    told = counts(process)
    assert told["answered"] >= 1 and told["failed"] == 0
    assert told["in"] == sum(count for kind, count in told.items() if kind != "in")
