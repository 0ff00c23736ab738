"""A file that EMU_PLUGINS names adds an output topic to the running node and to its --help."""

import numpy as np
from helpers.camera_rig import CameraRig, noise, pixels, rgb8
from helpers.ros_processes import ChildProcess, module

from emu_core.registry import PLUGINS
from emu_core.runtime.dummy_model import dummy_outputs

PLUGIN = """
import numpy as np
from emu_perception.node.outputs import add_image_output

def inverse_depth(frame):
    return 1 / frame.perception.depth

add_image_output("depth/inverse", "32FC1", "1 / metres", "0: sky", inverse_depth)
"""


def test_a_plugin_s_topic_is_published_with_its_values(domain, model, tmp_path):
    plugin = tmp_path / "inverse_depth.py"
    plugin.write_text(PLUGIN)
    rig = CameraRig(domain, "/plugged", topics=["depth/inverse", "depth/image"])
    rgb = noise()
    with rig.node("-p", f"model:={model}", **{PLUGINS: str(plugin)}):
        rig.wait_for_outputs()
        outputs = rig.process_image(rgb8(rgb))
    depth = dummy_outputs(rgb)["depth"]
    assert np.isfinite(depth).any() and np.isinf(depth).any()
    assert np.array_equal(pixels(outputs["depth/image"]), depth, equal_nan=True)
    assert np.array_equal(pixels(outputs["depth/inverse"]), 1 / depth, equal_nan=True)
    assert outputs["depth/inverse"].header == outputs["depth/image"].header


def test_a_plugin_s_topic_is_listed_in_the_help(domain, tmp_path):
    plugin = tmp_path / "inverse_depth.py"
    plugin.write_text(PLUGIN)
    process = ChildProcess(*module("node", "--help"), domain=domain, **{PLUGINS: str(plugin)})
    assert process.wait() == 0
    assert (
        "  ~/depth/inverse          Image 32FC1             1 / metres; 0: sky" in process.output
    )


def test_a_broken_plugin_ends_the_start_with_one_line(domain, tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text("1 / 0")
    process = ChildProcess(*module("node"), domain=domain, **{PLUGINS: str(plugin)})
    assert process.wait() == 1
    assert process.output == (
        f"emu_node: The plugin {plugin} of EMU_PLUGINS cannot be imported "
        "(ZeroDivisionError: division by zero).\n"
    )
