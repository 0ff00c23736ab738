"""Shapes, sizes and stochastic depth of the encoder."""

import pytest
import torch

from emu_core.networks.dropout import Dropout
from emu_core.networks.encoder import VARIANTS, Block, MixTransformer


@pytest.mark.parametrize("size", [(64, 96), (75, 101), (32, 32)])
def test_features_have_a_quarter_to_a_32nd_of_the_size_rounded_up(size):
    encoder = MixTransformer("b0").eval()
    with torch.no_grad():
        features = encoder(torch.zeros(2, 3, *size))
    expected = [
        (2, width, -(-size[0] // stride), -(-size[1] // stride))
        for width, stride in zip((32, 64, 160, 256), (4, 8, 16, 32), strict=True)
    ]
    assert [tuple(x.shape) for x in features] == expected


def test_invalid_images_and_variants_are_refused():
    encoder = MixTransformer("b0")
    for shape in ((1, 3, 31, 64), (1, 1, 64, 64), (3, 64, 64)):
        with pytest.raises(ValueError, match=r"\(N, 3, H, W\).*at least 32, but got"):
            encoder(torch.zeros(shape))
    with pytest.raises(ValueError, match=r"b0, b1, b2, b3, b4, b5, b0_half, but got 'b6'"):
        MixTransformer("b6")


@pytest.mark.parametrize("variant", VARIANTS)
def test_stochastic_depth_rises_linearly_over_all_blocks(variant):
    with torch.device("meta"):
        encoder = MixTransformer(variant, drop_path=0.3)
    rates = [b.drop_path for b in encoder.modules() if isinstance(b, Block)]
    assert len(rates) == sum(VARIANTS[variant].depths)
    assert rates == pytest.approx(torch.linspace(0, 0.3, len(rates)).tolist(), abs=1e-6)


def test_stochastic_depth_drops_whole_branches_per_image_and_rescales_the_rest():
    torch.manual_seed(0)
    block = Block(8, 1, 2, drop_path=0.25)
    block.attention.output.weight.data.zero_()  # attention adds its bias, the FFN nothing
    block.attention.output.bias.data.fill_(3.0)
    block.ffn.linear2.weight.data.zero_()
    block.ffn.linear2.bias.data.zero_()
    x = torch.randn(4000, 4, 4, 8)
    with torch.no_grad():
        added = (block.train()(x) - x).flatten(1)
        assert torch.allclose(block.eval()(x) - x, torch.tensor(3.0), atol=1e-5)
    kept = added.mean(1) > 2
    torch.testing.assert_close(added[kept], torch.full_like(added[kept], 4.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(added[~kept], torch.zeros_like(added[~kept]))
    assert kept.double().mean() == pytest.approx(0.75, abs=5 * (0.75 * 0.25 / 4000) ** 0.5)


def test_initial_weights_follow_the_original_code():
    torch.manual_seed(0)
    block = MixTransformer("b1").stages[3].blocks[0]
    assert block.attention.query.weight.std().item() == pytest.approx(0.02, rel=0.05)
    # Normal with variance 2 / fan_out, where fan_out of a depth-wise 3×3 is 9.
    assert block.ffn.depthwise.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert block.attention.query.bias.abs().max() == 0


def test_dropout_follows_the_last_layers_of_attention_and_ffn_only_in_training():
    x = torch.randn(1, 3, 32, 32)
    torch.manual_seed(0)
    encoder = MixTransformer("b0", drop_path=0.0, dropout=0.5)
    places = [name for name, m in encoder.named_modules() if isinstance(m, Dropout)]
    assert len(places) == 2 * 8  # attention and FFN of B0's eight blocks
    zeros = []
    for block in (b for b in encoder.modules() if isinstance(b, Block)):
        for branch in (block.attention, block.ffn):
            branch.register_forward_hook(
                lambda _, __, out: zeros.append((out == 0).double().mean().item())
            )
    trained = encoder(x)
    assert len(zeros) == 16
    assert sum(zeros) / 16 == pytest.approx(0.5, abs=0.05)
    evaluated = encoder.eval()(x)
    assert not torch.allclose(trained[3], evaluated[3])
    torch.manual_seed(0)
    without = MixTransformer("b0", drop_path=0.0).eval()
    assert without.state_dict().keys() == encoder.state_dict().keys()
    torch.testing.assert_close(without(x), evaluated, rtol=0, atol=0)
