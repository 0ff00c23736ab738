"""The node `emu_perception`: puts cameras, model and topics together, through its lifecycle."""

from __future__ import annotations

import gc
import math
import os
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial

from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.utilities import get_rmw_implementation_identifier

from emu_core.runtime.model_file import ModelError
from emu_core.runtime.perceiver import Perceiver, ProviderError
from emu_perception.errors import UserError
from emu_perception.node import checks as verdicts
from emu_perception.node.camera import Camera
from emu_perception.node.checks import Verdict
from emu_perception.node.diagnostics import PERIOD_S, Diagnostics
from emu_perception.node.parameters import Parameters
from emu_perception.node.statistics import Health, resident_bytes
from emu_perception.node.worker import Worker
from emu_perception.ros import dds
from emu_perception.ros.command_line import missing
from emu_perception.ros.distro import guard_transitions

NAME = "emu_perception"
SUCCESS = TransitionCallbackReturn.SUCCESS
_BYTES_PER_PIXEL = 28  # of the largest answer, the cloud


class CameraNode(LifecycleNode):
    """Semantics, depth and the uncertainty of both, for one or several cameras.

    Configuring loads, checks and warms up the model; activating tells the classes and subscribes.
    A user's mistake fails a transition, anything else is an error, after which the node is
    unconfigured; both are logged and stand in the diagnostics.

    Parameters
    ----------
    See `emu_perception.node.parameters`.

    Subscribers
    -----------
    image : sensor_msgs/Image, or image/compressed : sensor_msgs/CompressedImage
    camera_info : sensor_msgs/CameraInfo, optional

    Publishers
    ----------
    See `emu_perception.node.outputs`.

    Raises
    ------
    UserError
        A parameter is wrong.
    """

    def __init__(self) -> None:
        super().__init__(NAME)
        guard_transitions(self)
        self._phase = "unconfigured"
        self._problem = ""
        self._starting = False
        self.parameters = Parameters(self, lambda: self._phase == "unconfigured")
        self._diagnostics = Diagnostics(self)
        self._perceiver: Perceiver | None = None
        self._cameras: dict[str, Camera] = {}
        self._health: dict[str, Health] = {}
        self._worker: Worker | None = None
        self._fast_dds = "fastrtps" in get_rmw_implementation_identifier()
        self._segment = dds.segment_size()
        # Simulated time may stand still, and health is of this world.
        self._heartbeat = self.create_timer(
            PERIOD_S, self._beat, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1)),
            post_callback=self._clock_jumped,
        )

    # --- from outside

    def bring_up(self) -> None:
        """Configure and activate; UserError says why that fails."""
        self._starting = True
        try:
            for trigger in (self.trigger_configure, self.trigger_activate):
                if trigger() != SUCCESS:
                    raise UserError(self._problem)
        finally:
            self._starting = False

    def close(self) -> str:
        """Finish the frame at hand, shut down, and tell what became of all frames."""
        if self._phase != "finalized":
            self.trigger_shutdown()
        self._jumps.unregister()
        totals: dict[str, int] = {}
        for health in self._health.values():
            for kind, count in health.counts().items():
                totals[kind] = totals.get(kind, 0) + count
        counts = ", ".join(f"{count} {kind}" for kind, count in totals.items())
        return f"frames: {counts or 'none'}"

    # --- transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, check and warm it up, and make the topics."""
        # No heartbeat comes while this takes its time, with TensorRT minutes.
        beat = verdicts.of_state("configuring", "", resident_bytes())
        self._diagnostics.publish([("state", beat)])
        return self._attempt("configure", self._configure, "inactive", undo=self._release)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Tell the classes, then take images."""
        return self._attempt(
            "activate",
            partial(self._activate, state),
            "active",
            undo=partial(self._deactivate, state),
        )

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take no more images and finish the one at hand."""
        return self._attempt("deactivate", partial(self._deactivate, state), "inactive")

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give model and topics back."""
        return self._attempt("clean up", self._release, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End, from any state."""
        return self._attempt("shut down", self._end, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back: the node can be configured again."""
        problem = self._problem
        result = self._attempt("recover", self._end, "unconfigured")
        self._problem = self._problem or problem
        if result != SUCCESS:  # rcl gives such a node up
            self._phase = "finalized"
        return result

    def _attempt(
        self,
        what: str,
        work: Callable[[], None],
        phase: str,
        undo: Callable[[], None] = lambda: None,
    ) -> TransitionCallbackReturn:
        """Do the work of a transition, which ends in `phase`; rclpy would swallow exceptions."""
        self._problem = ""
        try:
            try:
                work()
            except UserError:
                undo()
                raise
        except UserError as error:
            self._problem = f"cannot {what}: {error}"
            if not self._starting:  # else the process ends with these words
                self.get_logger().error(self._problem)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self._problem = (
                f"cannot {what}, model {self.parameters['model'] or 'of emu_core'}: "
                f"{type(error).__name__}: {error}"
            )
            self.get_logger().error(f"{self._problem}\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        self._phase = phase
        return SUCCESS

    # --- their work

    def _configure(self) -> None:
        self._perceiver = perceiver = self._load()
        compressed = self.parameters["image_transport"] == "compressed"
        for name in self.parameters.cameras():
            health = self._health.setdefault(name, Health())
            self._cameras[name] = Camera(
                self,
                name,
                perceiver,
                health,
                compressed=compressed,
                rectify=self.parameters["rectify"],
                settings=self.parameters.settings,
            )

    def _activate(self, state: LifecycleState) -> None:
        super().on_activate(state)  # before, publishers are silent
        self._worker = worker = Worker(
            {name: camera.responder for name, camera in self._cameras.items()},
            self._health,
            lambda: self.parameters["max_rate"],
        )
        for camera in self._cameras.values():
            camera.tell_labels()
        for name, camera in self._cameras.items():
            camera.open(partial(worker.put, name))

    def _deactivate(self, state: LifecycleState) -> None:
        self._stop()
        super().on_deactivate(state)

    def _end(self) -> None:
        self._stop()
        self._release()

    def _stop(self) -> None:
        for camera in self._cameras.values():
            camera.close()
        worker, self._worker = self._worker, None
        if worker is not None and not worker.close():
            raise RuntimeError("an inference does not end")

    def _release(self) -> None:
        while self._cameras:  # no variable may hold the last one
            self._cameras.popitem()[1].destroy()
        self._perceiver = None
        gc.collect()  # the session is large, and cameras are cycles

    def _load(self) -> Perceiver:
        start, values = time.perf_counter(), self.parameters
        model = values["model"]
        self.get_logger().debug(f"loading {model or 'the model of emu_core'}")
        try:
            perceiver = Perceiver(
                os.path.expanduser(model) or None,
                provider=values["provider"],
                threads=values["threads"] or None,
                fit=values["fit"],
                allow_cpu_fallback=values["allow_cpu_fallback"],
            )
            perceiver.verify()  # and a warm-up
        except (ModelError, ProviderError) as error:
            raise UserError(str(error)) from error
        except ModuleNotFoundError as error:
            raise UserError(missing(error)) from error
        info = perceiver.info
        self.get_logger().info(
            f"model {info.name} ({info.path}, sha256 {info.sha256[:12]}), "
            f"{info.input_size[1]}x{info.input_size[0]} {info.precision}, provider "
            f"{perceiver.provider}, loaded and checked in {time.perf_counter() - start:.2f} s"
        )
        if perceiver.provider != values["provider"]:
            self.get_logger().error(
                f"the provider {values['provider']} cannot be had: running on {perceiver.provider}"
            )
        return perceiver

    # --- health

    def _beat(self) -> None:
        for camera in self._cameras.values():
            camera.adapt()
        self._diagnostics.publish(self._verdicts())

    def _verdicts(self) -> Iterator[tuple[str, Verdict]]:
        yield "state", verdicts.of_state(self._phase, self._problem, resident_bytes())
        if self._perceiver is None:
            return
        info, provider = self._perceiver.info, self._perceiver.provider
        yield (
            "model",
            verdicts.of_model(
                self.parameters["provider"],
                provider,
                {"model": info.name, "file": str(info.path), "sha256": info.sha256},
            ),
        )
        yield "labels", verdicts.of_labels()
        largest = math.prod(info.output_size) * _BYTES_PER_PIXEL
        for name, camera in self._cameras.items():
            for task, verdict in self._of_camera(camera, largest):
                yield f"{name} {task}".strip(), verdict

    def _of_camera(self, camera: Camera, largest: int) -> Iterator[tuple[str, Verdict]]:
        """Verdicts on one camera; `largest`: bytes of its largest answer."""
        if camera.images is None or camera.infos is None:
            return
        report, senders = camera.health.report(), camera.images.senders()
        yield (
            "input",
            verdicts.of_input(report, camera.images.topic, senders, self._fast_dds, dds.profile()),
        )
        yield (
            "answers",
            verdicts.of_answers(report, largest, self._segment, self._fast_dds),
        )
        yield (
            "scale",
            verdicts.of_scale(
                camera.lens.scale,
                camera.infos.topic,
                camera.infos.senders(),
                camera.lens.blind,
            ),
        )

    def _clock_jumped(self, jump: object) -> None:
        self.get_logger().warning("the ROS clock jumped back or was changed: ages start anew")
        for health in self._health.values():
            health.clock_jumped()
