"""Subscriptions to topics whose types and QoS are their publishers' affair; messages stay raw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy

from .command_line import UserError
from .distro import matched
from .endpoints import READER_DEPTH, message_class, publishers, reader_qos


@dataclass
class RawTopic:
    """One subscription: its type and class, and the publishers that its QoS suits."""

    type: str
    kind: Any
    qos: Any
    infos: Sequence[Any]
    subscription: Any

    @property
    def latched(self) -> bool:
        """Whether what was published before the subscription comes, too."""
        return self.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL


class RawTopics:
    """Passes every message, as raw CDR, to `take(name, data)`, in the executor's thread.

    `say` is told of topics that cannot be subscribed to.
    """

    def __init__(
        self, node: Node, take: Callable[[str, bytes], None], say: Callable[[str], None]
    ) -> None:
        self.topics: dict[str, RawTopic] = {}
        self._node, self._take, self._say = node, take, say
        self._refused: set[str] = set()

    def look(self, name: str, given: str | None = None, *, required: bool = True) -> None:
        """Subscribe a topic that has appeared, and anew where its publishers offer another QoS.

        Parameters
        ----------
        given : its type; None where its publishers tell.
        required : without its type installed, UserError; otherwise that is said, once.
        """
        if name in self._refused:
            return
        infos = publishers(self._node, name)
        msgtype = given or (infos[0].topic_type if infos else None)
        if msgtype is None:
            return
        known = self.topics.get(name)
        qos = reader_qos(infos)
        if known is not None:
            if not infos or qos == known.qos:
                return
            self._node.destroy_subscription(known.subscription)
        kind = message_class(msgtype)
        if kind is None:
            self._refuse(name, msgtype, required)
            return
        subscription = self._node.create_subscription(
            kind, name, partial(self._take, name), qos, raw=True
        )
        self.topics[name] = RawTopic(msgtype, kind, qos, infos, subscription)

    def matched(self) -> bool:
        """Whether every subscription has found a publisher, of those that were there."""
        return all(matched(topic.subscription) for topic in self.topics.values() if topic.infos)

    def drain(self, enough: Callable[[], bool]) -> None:
        """Take what reached this process but was not called back yet, until it is enough."""
        for name, topic in self.topics.items():
            for _ in range(READER_DEPTH):
                with topic.subscription.handle:
                    taken = topic.subscription.handle.take_message(topic.kind, True)
                if taken is None or enough():
                    break
                self._take(name, taken[0])

    def _refuse(self, name: str, msgtype: str, required: bool) -> None:
        problem = f"{name} cannot be recorded: {msgtype} is not installed here"
        if required:
            raise UserError(f"{problem}; install the package {msgtype.partition('/')[0]}")
        self._refused.add(name)
        self._say(problem)
