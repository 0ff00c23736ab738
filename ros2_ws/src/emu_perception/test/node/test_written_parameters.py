"""What a node says about its parameters can be given back to it: in a file, or as a dump."""

import pytest
import yaml
from helpers.camera_rig import CameraRig
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import ListParameters
from rclpy.parameter import Parameter

from emu_perception.errors import UserError
from emu_perception.node.parameters import PARAMETERS


def plain(parameter):
    return list(parameter.default) if parameter.is_list else parameter.default


DEFAULTS = {parameter.name: plain(parameter) for parameter in PARAMETERS}


@pytest.fixture(scope="module")
def rig(domain, model):
    rig = CameraRig(domain, "/written", topics=[])
    with rig.node("-p", f"model:={model}"):
        yield rig


def dump(remote):
    """All parameters by name, as `ros2 param dump` asks for them."""
    listed = remote.call(ListParameters, "list_parameters", ListParameters.Request())
    return {name: remote.get(name) for name in listed.result.names}


def test_an_active_node_accepts_its_own_dump(rig):
    values = dump(rig.remote)
    assert {"use_sim_time", *DEFAULTS} < set(values)
    assert any(name.startswith("qos_overrides.") for name in values)
    reasons = {name: rig.remote.set(name, value) for name, value in values.items()}
    assert [name for name, reason in reasons.items() if reason] == []
    assert dump(rig.remote) == values


def test_a_node_starts_with_the_dump_of_another(rig, make_node, tmp_path):
    values = dump(rig.remote)
    file = tmp_path / "dump.yaml"
    file.write_text(yaml.safe_dump({"/written/emu_perception": {"ros__parameters": values}}))
    node = make_node("-r", "__ns:=/written", "--params-file", str(file))
    node.bring_up()
    for name, value in values.items():
        now = node.get_parameter(name).value
        assert (list(now) if isinstance(value, list) else now) == value, name


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_default_survives_a_parameter_file(make_node, tmp_path, name):
    file = tmp_path / "defaults.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": {name: DEFAULTS[name]}}}))
    assert make_node("--params-file", str(file)).parameters[name] == DEFAULTS[name]


@pytest.mark.parametrize("empty", ["[]", "['']"])
def test_no_cameras_are_an_empty_list_of_texts(make_node, empty):
    node = make_node("-p", f"cameras:={empty}")
    assert node.get_parameter("cameras").type_ == Parameter.Type.STRING_ARRAY
    assert node.parameters.cameras() == ("",)


def test_cameras_are_described_as_a_list_of_texts(rig):
    described = rig.remote.describe("cameras")
    assert described.type == ParameterType.PARAMETER_STRING_ARRAY
    assert not described.dynamic_typing


@pytest.mark.parametrize("kind", ["BOOL", "BYTE", "INTEGER", "DOUBLE", "STRING"])
def test_an_empty_list_of_any_type_means_no_cameras(make_node, kind):
    node = make_node("-p", "cameras:=[front]")
    empty = Parameter("cameras", Parameter.Type[f"{kind}_ARRAY"], [])
    assert node.set_parameters_atomically([empty]).successful
    assert node.parameters.cameras() == ("",)
    assert node.get_parameter("cameras").type_ == Parameter.Type.STRING_ARRAY


def test_a_changed_value_among_unchanged_ones_is_still_refused(make_node):
    node = make_node()
    same, other = Parameter("autostart", value=True), Parameter("autostart", value=False)
    fit = Parameter("fit", value="letterbox")
    assert node.set_parameters_atomically([same, fit]).successful
    assert node.parameters["fit"] == "letterbox"
    assert "read-only" in node.set_parameters_atomically([other]).reason


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("fit: []", "parameter fit has no value"),
        ("autostart: []", "parameter autostart has no value"),
        ("cameras: front", "write a list of names, such as"),
        ("cameras: [0, 1]", "write a list of names, such as"),
        ("max_rate: 10", "write 10.0, not 10"),
    ],
)
def test_a_value_of_the_wrong_type_is_a_mistake_with_advice(make_node, tmp_path, line, text):
    file = tmp_path / "wrong.yaml"
    file.write_text(f"/**:\n  ros__parameters:\n    {line}\n")
    with pytest.raises(UserError, match=text):
        make_node("--params-file", str(file))
