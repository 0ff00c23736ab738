"""Start the perception node and, if wanted, a bag player and RViz.

    ros2 launch emu_perception emu.launch.py image:=/camera/image_raw rviz:=true
    ros2 launch emu_perception emu.launch.py namespace:=front provider:=cuda
    ros2 launch emu_perception emu.launch.py bag:=drive image:=/camera/image_raw rviz:=true

`--show-args` lists the arguments. All processes use a Fast DDS profile of `config`, because images
between processes get lost without it, unless the user has chosen the transport.
"""

import sys
import threading
from pathlib import Path, PurePosixPath

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.ros_adapters import get_ros_node

from emu_perception.errors import UserError
from emu_perception.ros import dds
from emu_perception.ros.launch import (
    IMAGES,
    LAUNCH_ARGUMENTS,
    checked,
    require,
    rosbag2_plays,
    with_transport_of_bag,
)

PACKAGE = NODE = "emu_perception"
RVIZ = Path(__file__).parents[1] / "rviz" / "emu.rviz"
TEXTS, SWITCHES = ("model", "provider", "image_transport"), ("autostart", "use_sim_time")
"""Arguments that set the node's parameters of the same names."""


def generate_launch_description() -> LaunchDescription:
    """Return the arguments and actions for `ros2 launch`."""
    arguments = [
        DeclareLaunchArgument(
            a.name,
            default_value=a.default,
            # Without launch's own choices, which would refuse True and WARN.
            description=a.description + _choices(a.choices),
        )
        for a in LAUNCH_ARGUMENTS
    ]
    profile = [SetEnvironmentVariable(*variable) for variable in dds.environment().items()]
    return LaunchDescription([*arguments, *profile, OpaqueFunction(function=_start)])


def _choices(choices):
    return f" ({', '.join(filter(None, choices))})" if choices else ""


def _start(context):
    """Check the arguments, and then return the processes."""
    given = checked({a.name: context.launch_configurations[a.name] for a in LAUNCH_ARGUMENTS})
    if not Path(given["params_file"]).expanduser().is_file():
        raise UserError(f"there is no params_file {given['params_file']}")
    if given["rviz"] == "true":
        require(["rviz2"], "rviz:=true")
    given["use_sim_time"] = given["use_sim_time"] or ("true" if given["bag"] else "")
    given["namespace"] = "/" + given["namespace"].strip("/")
    if given["bag"]:
        if not Path(given["bag"]).expanduser().exists():
            raise UserError(f"there is no bag {given['bag']}")
        given = with_transport_of_bag(given)
    node = _node(given)
    actions = [node]
    if given["bag"]:
        ended = threading.Event()
        on_exit = OnProcessExit(target_action=node, on_exit=lambda *_: ended.set())
        actions = [RegisterEventHandler(on_exit), node, _bag(given, ended)]
    if given["rviz"] == "true":
        actions.append(_rviz(given))
    return actions


def _node(given):
    camera_info = str(PurePosixPath(given["image"]).with_name("camera_info"))
    logger = f"{given['namespace']}/{NODE}".strip("/").replace("/", ".")
    parameters = {
        **{name: ParameterValue(given[name], value_type=str) for name in TEXTS if given[name]},
        **{name: given[name] == "true" for name in SWITCHES if given[name]},
    }
    return Node(
        package=PACKAGE,
        executable="emu_node",
        # With both, launch_ros writes the parameters for exactly this node. A parameter file that
        # names the node would override parameters for any node (/**).
        name=NODE,
        namespace=given["namespace"],
        parameters=[
            str(Path(given["params_file"]).expanduser()),
            *([parameters] if parameters else []),
        ],
        remappings=[
            ("image", given["image"]),
            ("camera_info", given["camera_info"] or camera_info),
        ],
        ros_arguments=["--log-level", f"{logger}:={given['log_level']}"],
        output="screen",
        emulate_tty=sys.stdout.isatty(),  # else a redirected log would have colour codes
    )


def _bag(given, ended):
    """Return the player, which starts when the node has subscribed: earlier images are lost."""
    bag = Path(given["bag"]).expanduser()
    clock = ["--clock"] if given["use_sim_time"] == "true" else []
    if rosbag2_plays(bag):
        # With a delay, because messages before the DDS match are lost.
        command = ["ros2", "bag", "play", str(bag), "--delay", "3", *clock]
        play = ExecuteProcess(cmd=command, output="screen")
    else:
        arguments = [str(bag), "--wait-for-subscribers", "1", *clock]
        play = Node(package=PACKAGE, executable="player", arguments=arguments, output="screen")
    return _after_subscription(given["namespace"], play, ended)


def _after_subscription(namespace, play, ended):
    """Check once per second for the subscription, which the node makes on activation.

    `ended` is set when the node has ended: then there is nothing to play for.
    """

    def check(context):
        if ended.is_set():
            return []
        ros, ready = get_ros_node(context), False
        if (NODE, namespace) in ros.get_node_names_and_namespaces():
            subscribed = ros.get_subscriber_names_and_types_by_node(NODE, namespace)
            ready = any(kind in IMAGES for _, kinds in subscribed for kind in kinds)
        return [play if ready else _after_subscription(namespace, play, ended)]

    return TimerAction(period=1.0, actions=[OpaqueFunction(function=check)])


def _rviz(given):
    frame = ["-f", given["fixed_frame"]] if given["fixed_frame"] else []
    return Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        namespace=given["namespace"],  # the topics in the RViz file are relative
        arguments=["-d", str(RVIZ), *frame],
        parameters=[{"use_sim_time": given["use_sim_time"] == "true"}],
        remappings=[
            (f"image{transport}", f"{given['image']}{transport}")
            for transport in ("", "/compressed")
        ],
    )
