"""A node without DDS, for tests of one camera: it stores what is published and logged."""

from types import SimpleNamespace

from emu_perception.node.camera import Camera
from emu_perception.node.parameters import ANY_TIME, PARAMETERS, Settings
from emu_perception.node.statistics import CameraStatistics


class FakeNode:
    """The part of rclpy's LifecycleNode that `Camera` uses; every topic has `subscribers`."""

    def __init__(self):
        self.lines, self.published = [], {}
        self.subscribers, self.now_s = 1, 0.0

    def create_lifecycle_publisher(self, kind, topic, qos, **options):
        messages = self.published.setdefault(topic, [])
        return SimpleNamespace(
            publish=messages.append, get_subscription_count=lambda: self.subscribers
        )

    def get_logger(self):
        append = self.lines.append
        return SimpleNamespace(info=lambda text: None, warning=append, error=append)

    def get_clock(self):
        now = SimpleNamespace(nanoseconds=round(1e9 * self.now_s))
        return SimpleNamespace(now=lambda: now)

    def resolve_topic_name(self, name):
        return f"/{name}"

    def count_publishers(self, topic):
        return 0


class FakeParameters(dict):
    """The part of `Parameters` that `Camera` uses."""

    def __init__(self, rectify=False, **settings):
        super().__init__({p.name: p.default for p in PARAMETERS}, rectify=rectify)
        self.settings = lambda: default_settings(**settings)


def default_settings(**given):
    """Settings with the defaults of the parameters, where no value is given."""
    defaults = {p.name: p.default for p in PARAMETERS if p.changes == ANY_TIME}
    return Settings(**{**defaults, **given})


def make_camera(node, perceiver, rectify=False, **settings):
    """A camera of a fake node."""
    parameters = FakeParameters(rectify, **settings)
    return Camera(node, "", perceiver, CameraStatistics(), parameters)
