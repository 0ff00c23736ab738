"""Networks of transformers with random weights, and small ONNX graphs, for the tests."""

import json

import onnx
import torch
from torch import nn
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTConfig,
    DPTForDepthEstimation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
)

NAMES = ("road", "car", "sky", "tree", "bus")
VIT = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}


def segformer():
    """A small SegFormer of the classes `NAMES`."""
    torch.manual_seed(0)
    sizes = {"hidden_sizes": [8, 16, 16, 24], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16}
    labels = dict(enumerate(NAMES))
    config = SegformerConfig(num_attention_heads=[1, 1, 2, 2], id2label=labels, **sizes)
    return randomized(SegformerForSemanticSegmentation(config))


def dpt():
    torch.manual_seed(1)
    sizes = {"image_size": 64, "patch_size": 16, "intermediate_size": 32, "fusion_hidden_size": 16}
    sizes |= {"neck_hidden_sizes": [8, 8, 16, 16], "backbone_out_indices": [0, 1, 2, 3]}
    return randomized(DPTForDepthEstimation(DPTConfig(is_hybrid=False, **sizes, **VIT)))


def depth_anything(**changes):
    torch.manual_seed(2)
    backbone = Dinov2Config(
        image_size=56, patch_size=14, out_indices=[1, 2, 3, 4], reshape_hidden_states=False, **VIT
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=8,
        head_hidden_size=8,
        **changes,
    )
    network = randomized(DepthAnythingForDepthEstimation(config))
    with torch.no_grad():  # otherwise its last ReLU is off everywhere
        for layer in (network.head.conv1, network.head.conv2, network.head.conv3):
            layer.weight.mul_(5)
        network.head.conv2.bias.fill_(1)
        network.head.conv3.weight.abs_()
    return network


def randomized(network):
    """Disturb all weights, so that no term vanishes, in eval mode."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return network.eval()


class Plain(nn.Module):
    """A network with scores or depth as its only output."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixels):
        found = self.network(pixels)
        return found.logits if hasattr(found, "logits") else found.predicted_depth


def export(module, path, size, **options):
    """Export a network by torch for RGB (1, 3, H, W)."""
    options = {"opset_version": 17, "input_names": ["pixels"], "output_names": ["out"], **options}
    torch.onnx.export(
        module.eval(), (torch.zeros(1, 3, *size),), str(path), dynamo=False, **options
    )
    return path


def save(network, folder, size, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)):
    """Save a network as transformers do, with the file of its image processor."""
    network.save_pretrained(folder)
    facts = {"size": dict(zip(("height", "width"), size, strict=True)), "do_rescale": True}
    facts |= {"do_normalize": True, "image_mean": mean, "image_std": std}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder


def graph(path, text, opset=17):
    """Write an ONNX file from the text of its graph."""
    head = f'<ir_version: 8, opset_import: ["": {opset}]> '
    onnx.save(onnx.parser.parse_model(head + text), str(path))
    return path
