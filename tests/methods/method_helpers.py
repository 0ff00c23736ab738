"""Networks and images of the methods' tests."""

import torch

from emu_core.networks import DepthFormer, SegDepthFormer, SegFormer

SIZE = (32, 64)
KINDS = (SegFormer, DepthFormer, SegDepthFormer)


def make(kind=SegDepthFormer, seed=0, variant="b0", **options):
    """A network whose outputs differ at every pixel and for every seed."""
    torch.manual_seed(seed)
    network = kind(variant, **options)
    if network.depth_decoder is not None:
        network.init_depth(20.0, 3.0)
    for decoder in (network.segmentation_decoder, network.depth_decoder):
        if decoder is not None:
            torch.nn.init.normal_(decoder.head.weight, std=0.3)
            torch.nn.init.uniform_(decoder.norm.running_var, 0.5, 2.0)
    return network.eval()


def make_images(n=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, *SIZE), dtype=torch.uint8, generator=generator)


def assert_same(a, b, tolerance=0.0):
    torch.testing.assert_close(vars(a), vars(b), rtol=tolerance, atol=tolerance)


def count_calls(module):
    """A list that grows by one with every pass through the module."""
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls
