"""A calibrated network divides its logits, and multiplies its deviation."""

import json

import pytest
import torch
import torch.nn.functional as F
from method_helpers import SIZE, assert_same, make, make_images

from emu_core.methods.post_hoc.calibrated import (
    CalibratedNetwork,
    calibration_file,
    save_calibration,
)
from emu_core.methods.registry import load_method
from emu_core.methods.single import SingleNetwork
from emu_core.networks import DepthFormer, WeightsError, normalize, save_model
from emu_core.runtime.calibration import Calibration


def test_the_temperature_divides_logits_and_the_factor_multiplies_the_deviation():
    network, images = make(), make_images()
    found = CalibratedNetwork(network, Calibration(1.7, 0.8, 2.5))(images)
    with torch.no_grad():
        logits = F.interpolate(network(normalize(images)).logits, SIZE, mode="bilinear")
    p = (logits / 1.7).softmax(dim=1)
    torch.testing.assert_close(found.probabilities, p)
    uncertainty = torch.special.entr(p).sum(dim=1, keepdim=True) / torch.tensor(19.0).log()
    plain = SingleNetwork(network)(images)
    expected = plain.depth_variance * (0.8 + 2.5 * uncertainty) ** 2
    torch.testing.assert_close(found.depth_variance, expected)
    torch.testing.assert_close(found.depth_mean, plain.depth_mean)
    assert_same(CalibratedNetwork(network, Calibration())(images), plain, 1e-6)
    depth = make(DepthFormer)
    doubled = CalibratedNetwork(depth, Calibration(std_scale=2.0, std_doubt=1.0))(images)
    expected = SingleNetwork(depth)(images).depth_variance * 4
    torch.testing.assert_close(doubled.depth_variance, expected)


def test_it_is_loaded_with_the_file_beside_its_weights(tmp_path):
    network, images, path = make(), make_images(), tmp_path / "last.safetensors"
    save_model(network, path)
    with pytest.raises(WeightsError, match=r"no calibration .*last\.calibration\.json.*calibrate"):
        load_method("calibrated", [path])
    calibration = Calibration(1.3, 0.9, 0.4, "2 frames", {"nll": 1.0}, {"nll": 0.9})
    assert save_calibration(calibration, path) == calibration_file(path)
    expected = CalibratedNetwork(network, calibration)(images)
    assert_same(load_method("calibrated", [path])(images), expected)
    for damaged in ({"temperature": -1}, {"temperature": None}, []):
        calibration_file(path).write_text(json.dumps(damaged))
        with pytest.raises(WeightsError, match=r"calibration\.json is damaged"):
            load_method("calibrated", [path])
    calibration_file(path).write_text("null")
    with pytest.raises(WeightsError, match=r"calibration\.json is empty or damaged"):
        load_method("calibrated", [path])
