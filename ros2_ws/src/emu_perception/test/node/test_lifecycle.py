"""The node's lifecycle: driven from outside, repeated many times, and with failures."""

import threading
import weakref
from pathlib import Path

import pytest
from helpers.camera_rig import CameraRig, gray
from helpers.remote import ERROR
from helpers.ros_processes import TIMEOUT_S, wait_until
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn

from emu_perception.errors import UserError
from emu_perception.node import lifecycle
from emu_perception.node.checks import Level

SUCCESS = TransitionCallbackReturn.SUCCESS


@pytest.fixture(scope="module")
def managed(domain, model):
    """A node that waits for a manager; every test leaves it unconfigured."""
    rig = CameraRig(domain, "/managed", topics=["semantic/image"])
    with rig.node("-p", f"model:={model}", "-p", "autostart:=false"):
        yield rig


def bring_down(remote):
    assert remote.change("deactivate") and remote.change("cleanup")
    assert remote.state() == "unconfigured"


def test_a_manager_takes_the_node_through_its_states_and_back(managed):
    remote = managed.remote
    assert remote.state() == "unconfigured"
    assert remote.change("configure") and remote.state() == "inactive"
    assert managed.camera.get_subscription_count() == 0, "only an active node subscribes"
    assert remote.change("activate") and remote.state() == "active"
    managed.wait_for_outputs()
    assert remote.change("deactivate") and remote.state() == "inactive"
    managed.ros.wait_until(
        lambda: managed.camera.get_subscription_count() == 0, "the end of the subscription"
    )
    assert remote.change("activate")
    managed.wait_for_outputs()
    bring_down(remote)
    topic = "/managed/emu_perception/semantic/image"
    managed.ros.wait_until(
        lambda: managed.ros.node.count_publishers(topic) == 0, "the end of the topics"
    )


def test_the_state_configuring_is_published_before_the_node_is_busy(managed):
    remote = managed.remote
    remote.next_statuses()
    remote.states.clear()
    assert remote.change("configure")
    managed.ros.wait_until(lambda: "inactive" in remote.states, "the next heartbeat")
    assert remote.states[remote.states.index("inactive") - 1] == "configuring"
    assert remote.change("cleanup")


def test_an_impossible_transition_is_refused(managed):
    remote = managed.remote
    assert not remote.change("activate")
    assert remote.change("configure")
    assert not remote.change("configure")
    assert remote.state() == "inactive"
    assert remote.change("cleanup")
    assert "Traceback" not in managed.process.output


def resources(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
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
        return resources(pid)

    before = rounds(20)  # allocators and caches settle
    after = rounds(60)
    assert after["threads"] == before["threads"]
    assert after["files"] == before["files"]
    assert after["megabytes"] - before["megabytes"] < 3, "60 leaked sessions would take more"


# --- failures


def missing(source, target):
    target.unlink(missing_ok=True)


def truncated(source, target):
    target.write_bytes(source.read_bytes()[:3000])


def wrong_outputs(source, target):
    """Copy a dummy model so that its deviation follows green, unlike its reference."""
    import onnx

    model = onnx.load(source)
    spread = next(node for node in model.graph.node if "spread" in node.output)
    spread.input[1] = "G"
    onnx.save(model, target)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (missing, "no model file at {}"),
        (truncated, "{} .*truncated"),
        (wrong_outputs, "{} does not reproduce its reference outputs.*depth_std"),
    ],
)
def test_an_unusable_model_fails_the_configuration_and_can_be_replaced(
    managed, models, model, damage, text
):
    remote, path = managed.remote, models / "unusable.onnx"
    damage(model, path)
    assert remote.set("model", str(path)) == ""
    assert not remote.change("configure")
    assert remote.state() == "unconfigured"
    managed.process.wait_for_line(f"cannot configure: .*{text.format(path)}")
    remote.wait_for_status("state", ERROR, text.format(path))
    assert remote.set("model", str(model)) == ""
    assert remote.change("configure") and remote.change("activate")
    managed.wait_for_outputs()
    bring_down(remote)


# --- the node inside this process


@pytest.fixture
def local_node(make_node):
    return make_node()


def fail(*arguments, **options):
    raise RuntimeError("device lost")


def state_of(node):
    status = dict(node._statuses())["state"]
    return status.values["state"], status.message


def topics_of(node):
    return sorted(e.topic_name for e in (*node.publishers, *node.subscriptions))


@pytest.mark.parametrize("part", ["Perceiver", "Camera.open"])
def test_an_unexpected_error_releases_everything_and_the_node_can_be_started_again(
    local_node, monkeypatch, part
):
    before = topics_of(local_node)
    with monkeypatch.context() as patch:
        patch.setattr(f"emu_perception.node.lifecycle.{part}", fail)
        with pytest.raises(UserError, match=r"cannot .*, model .*: RuntimeError: device lost"):
            local_node.bring_up()
    state, message = state_of(local_node)
    assert state == "unconfigured" and "device lost" in message
    assert topics_of(local_node) == before
    local_node.bring_up()


def test_an_inference_that_does_not_end_is_an_error_of_the_deactivation(local_node, monkeypatch):
    local_node.bring_up()
    with monkeypatch.context() as patch:
        patch.setattr(lifecycle.Worker, "close", lambda worker: False)
        assert local_node.trigger_deactivate() == TransitionCallbackReturn.ERROR
    assert "does not end" in state_of(local_node)[1]


def test_many_activations_leave_the_publishers_and_subscriptions_of_one(local_node):
    local_node.bring_up()
    before = topics_of(local_node)
    for _ in range(20):
        assert local_node.trigger_deactivate() == local_node.trigger_activate() == SUCCESS
    assert topics_of(local_node) == before
    assert before.count("/image") == before.count("/camera_info") == 1


def test_an_inactive_and_a_finalized_node_report_their_state_but_no_camera(local_node):
    local_node.bring_up()
    assert "input" in dict(local_node._statuses())
    assert local_node.trigger_deactivate() == SUCCESS
    assert state_of(local_node) == ("inactive", "inactive")
    assert "input" not in dict(local_node._statuses())
    assert local_node.trigger_shutdown() == SUCCESS
    assert state_of(local_node) == ("finalized", "finalized")
    assert local_node.close().startswith("frames: 0 in, ")


def test_the_fastest_provider_is_told_in_the_diagnostics(make_node, monkeypatch, tmp_path):
    monkeypatch.setenv("EMU_ENGINE_CACHE", str(tmp_path))
    node = make_node("-p", "provider:=auto")
    node.bring_up()
    status = dict(node._statuses())["model"]
    assert status.level == Level.OK and status.values["provider"] == node._perceiver.provider
    assert status.values["provider choice"] == str(node._perceiver.choice)


def test_the_cpu_instead_of_the_requested_provider_is_an_error_in_the_diagnostics(make_node):
    node = make_node("-p", "provider:=tensorrt", "-p", "allow_cpu_fallback:=true")
    node.bring_up()
    status = dict(node._statuses())["model"]
    assert status.level == Level.ERROR and "running on cpu" in status.message


def test_cleaning_up_frees_the_model_although_an_executor_keeps_a_subscription(local_node):
    local_node.bring_up()
    model = weakref.ref(local_node._perceiver)
    kept = list(local_node.subscriptions)
    assert local_node.trigger_deactivate() == SUCCESS
    assert local_node.trigger_cleanup() == SUCCESS
    assert len(kept) >= 2 and model() is None


def test_services_respond_during_an_inference(local_node, monkeypatch, domain):
    started, finish = threading.Event(), threading.Event()
    perceive = lifecycle.Perceiver.perceive_many

    def slow(perceiver, requests):
        started.set()
        assert finish.wait(TIMEOUT_S)
        return perceive(perceiver, requests)

    monkeypatch.setattr(lifecycle.Perceiver, "perceive_many", slow)
    local_node.bring_up()
    executor = SingleThreadedExecutor()
    executor.add_node(local_node)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    rig = CameraRig(domain, "", topics=["depth/image"])
    rig.wait_for_node()
    wait_until(started.is_set, "an inference", lambda: rig.show(gray()))
    assert rig.remote.state() == "active"
    assert rig.remote.set("jpeg_quality", 50) == ""
    assert "output" in rig.remote.next_statuses()
    finish.set()
    rig.wait_for_outputs()
    rig.ros.close()
    executor.shutdown()
    spinning.join(TIMEOUT_S)
    assert not spinning.is_alive()
