"""The node `emu_perception`: its lifecycle, its cameras and its diagnostics."""

from __future__ import annotations

import gc
import math
import os
import socket
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType, JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.utilities import get_rmw_implementation_identifier

from emu_core.runtime.model_file import ModelError
from emu_core.runtime.perceiver import Perceiver, ProviderError
from emu_perception.errors import UserError
from emu_perception.node import checks, outputs
from emu_perception.node.camera import Camera
from emu_perception.node.checks import Status
from emu_perception.node.parameters import WRONG_QOS, Parameters
from emu_perception.node.statistics import CameraStatistics, resident_bytes
from emu_perception.node.worker import Worker
from emu_perception.ros import dds
from emu_perception.ros.command_line import missing_package
from emu_perception.ros.distro import guard_transitions
from emu_perception.ros.unchanged_parameters import NodeWithUnchangedParameters

NAME = "emu_perception"
SUCCESS = TransitionCallbackReturn.SUCCESS
_MAX_BYTES_PER_PIXEL = 28  # of the largest output, the point cloud


class PerceptionNode(NodeWithUnchangedParameters, LifecycleNode):
    """Semantics, depth and the uncertainties of both, for one or several cameras.

    `configure` loads, checks and warms up the model, and creates the topics of `outputs.OUTPUTS`.
    `activate` publishes the classes and subscribes to the images and camera_info. `deactivate`
    unsubscribes and finishes the image in progress. A user mistake makes a transition fail; after
    another exception, the node is unconfigured. Both are logged and shown in the diagnostics.

    Raises:
        UserError: a parameter is wrong.
    """

    def __init__(self) -> None:
        super().__init__(NAME)
        guard_transitions(self)
        self._state = "unconfigured"
        self._problem = ""
        self._starting = False
        self.parameters = Parameters(self, lambda: self._state == "unconfigured")
        try:
            self._diagnostics = self.create_publisher(
                DiagnosticArray,
                "/diagnostics",
                10,
                callback_group=MutuallyExclusiveCallbackGroup(),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        except WRONG_QOS as error:
            raise UserError(f"cannot publish /diagnostics: {error}") from error
        self._perceiver: Perceiver | None = None
        self._model_status = Status("")
        self._cameras: dict[str, Camera] = {}
        self._statistics: dict[str, CameraStatistics] = {}
        self._worker: Worker | None = None
        # Steady time, because simulated time may stand still.
        self._heartbeat = self.create_timer(
            1.0, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1)),
            post_callback=self._clock_jumped,
        )

    def bring_up(self) -> None:
        """Configure and activate the node, or raise UserError with the reason why it failed."""
        self._starting = True
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != SUCCESS:
                raise UserError(self._problem)
        self._starting = False

    def close(self) -> str:
        """Finish the image in progress, shut down, and return the counts of all images."""
        if self._state != "finalized":
            self.trigger_shutdown()
        self._jumps.unregister()
        totals: Counter[str] = Counter()
        for statistics in self._statistics.values():
            totals.update(statistics.counts())
        counts = ", ".join(f"{count} {kind}" for kind, count in totals.items())
        return f"frames: {counts or 'none'}"

    # --- transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        # There is no heartbeat during this transition, which takes minutes with TensorRT.
        self._publish([("state", checks.state_status("configuring", "", resident_bytes()))])
        return self._attempt("configure", self._configure, "inactive", undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        undo = partial(self._deactivate, state)
        return self._attempt("activate", partial(self._activate, state), "active", undo)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("deactivate", partial(self._deactivate, state), "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("clean up", self._release, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._attempt("shut down", self._release, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        problem = self._problem
        result = self._attempt("recover", self._release, "unconfigured")
        self._problem = self._problem or problem
        if result != SUCCESS:  # rcl finalizes such a node
            self._state = "finalized"
        return result

    def _attempt(
        self,
        name: str,
        work: Callable[[], None],
        next_state: str,
        undo: Callable[[], None] = lambda: None,
    ) -> TransitionCallbackReturn:
        """Do the work of a transition and report exceptions, which rclpy would discard."""
        self._problem = ""
        try:
            work()
        except UserError as error:
            self._problem = f"cannot {name}: {error}"
            if not self._starting:  # else the process prints the problem when it ends
                self.get_logger().error(self._problem)
            undo()
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self._problem = (
                f"cannot {name}, model {self.parameters['model'] or 'of emu_core'}: "
                f"{type(error).__name__}: {error}"
            )
            self.get_logger().error(f"{self._problem}\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        self._state = next_state
        return SUCCESS

    def _configure(self) -> None:
        self._perceiver = perceiver = self._load()
        self.parameters.bind_classes(perceiver.info.classes)
        for name in self.parameters.cameras():
            statistics = self._statistics.setdefault(name, CameraStatistics())
            self._cameras[name] = Camera(self, name, perceiver, statistics, self.parameters)

    def _activate(self, state: LifecycleState) -> None:
        super().on_activate(state)  # publishers publish nothing before
        together = self._perceiver.least_batch if self._perceiver else None
        self._worker = worker = Worker(dict(self._cameras), together)
        for name, camera in self._cameras.items():
            camera.open(partial(worker.put, name))

    def _deactivate(self, state: LifecycleState) -> None:
        self._stop()
        super().on_deactivate(state)

    def _stop(self) -> None:
        for camera in self._cameras.values():
            camera.close()
        worker, self._worker = self._worker, None
        if worker is not None and not worker.close():
            raise RuntimeError("an inference does not end")

    def _release(self) -> None:
        self._stop()
        while self._cameras:  # without a variable that would keep the last one
            self._cameras.popitem()[1].destroy()
        self._perceiver = None
        self.parameters.bind_classes(None)
        gc.collect()  # the session is large, and cameras are part of reference cycles

    def _load(self) -> Perceiver:
        start, given = time.perf_counter(), self.parameters
        requested = given["provider"]
        try:
            perceiver = Perceiver(
                os.path.expanduser(given["model"]) or None,
                provider=requested,
                threads=given["threads"] or None,
                fit=given["fit"],
                allow_cpu_fallback=given["allow_cpu_fallback"],
            )
            perceiver.verify()  # this is the warm-up, too
        except (ModelError, ProviderError) as error:
            raise UserError(str(error)) from error
        except ModuleNotFoundError as error:
            raise UserError(missing_package(error)) from error
        info, provider = perceiver.info, perceiver.provider
        self.get_logger().info(
            f"model {info.name} ({info.path}, sha256 {info.sha256[:12]}), "
            f"{info.input_size[1]}x{info.input_size[0]} {info.precision}, provider {provider}, "
            f"loaded and checked in {time.perf_counter() - start:.2f} s"
        )
        if missing := outputs.describe_missing(info):
            self.get_logger().info(missing)
        values = {"model": info.name, "file": str(info.path), "sha256": info.sha256}
        if (count := len(given.cameras())) > 1:
            values["images of several cameras"] = perceiver.use_batches(count)
            self.get_logger().info(f"{count} cameras: {values['images of several cameras']}")
        if perceiver.choice is not None:
            self.get_logger().info(f"provider {provider} is the fastest: {perceiver.choice}")
            values["provider choice"] = str(perceiver.choice)
        values["outputs"] = ", ".join(info.outputs)
        values["topics not published"] = outputs.describe_missing(info, True) or "none"
        self._model_status = checks.model_status(requested, provider, values, missing)
        if self._model_status.problems:
            self.get_logger().error(self._model_status.message)
        return perceiver

    # --- diagnostics

    def _beat(self) -> None:
        for camera in self._cameras.values():
            camera.adapt()
        self._publish(self._statuses())

    def _publish(self, statuses: Iterable[tuple[str, Status]]) -> None:
        """Publish one status for each task, given by the task's name."""
        name = self.get_fully_qualified_name().lstrip("/")
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [
            DiagnosticStatus(
                level=bytes([status.level]),  # an integer would be published as garbage
                name=f"{name}: {task}",
                message=status.message,
                hardware_id=socket.gethostname() or "unknown host",
                values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
            )
            for task, status in statuses
        ]
        self._diagnostics.publish(message)

    def _statuses(self) -> Iterator[tuple[str, Status]]:
        yield "state", checks.state_status(self._state, self._problem, resident_bytes())
        if self._perceiver is None:
            return
        yield "model", self._model_status
        info = self._perceiver.info
        yield "labels", checks.labels_status("labels" in info.outputs)
        output_bytes = math.prod(info.output_size) * _MAX_BYTES_PER_PIXEL
        transport = dds.transport(get_rmw_implementation_identifier())
        for name, camera in self._cameras.items():
            if not camera.subscriptions:
                continue
            infos, images = camera.subscriptions
            now = camera.statistics.snapshot()
            for task, status in (
                ("input", checks.input_status(now, images, transport)),
                ("output", checks.output_status(now, output_bytes, transport)),
                ("scale", checks.scale_status(camera.lens, infos, camera.lens.doubt())),
            ):
                yield f"{name} {task}".strip(), status

    def _clock_jumped(self, jump: TimeJump) -> None:
        self.get_logger().warning("ROS clock jumped; resetting age statistics")
        for statistics in self._statistics.values():
            statistics.reset_ages()
