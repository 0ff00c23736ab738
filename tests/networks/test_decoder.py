"""The folded decoder equals the original one: outputs, gradients and statistics."""

import pytest
import torch

from emu_core.networks.decoder import AllMLPDecoder

WIDTHS = (3, 5, 7, 11)
SIZES = ((12, 18), (6, 9), (3, 5), (2, 3))  # finest first; halved and rounded up


def make_pair(dropout=0.0, **options):
    """Two decoders with equal random parameters in float64: folded and original."""
    torch.manual_seed(0)
    decoders = [
        AllMLPDecoder(WIDTHS, 8, 4, dropout=dropout, folded=folded, **options).double()
        for folded in (True, False)
    ]
    for x in decoders[0].state_dict().values():
        if x.is_floating_point():
            x.uniform_(0.5, 1.5) if x.ndim == 1 else x.normal_()
    decoders[1].load_state_dict(decoders[0].state_dict())
    return decoders


def make_features(batch=2):
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, width, *size, generator=generator, dtype=torch.float64)
        for width, size in zip(WIDTHS, SIZES, strict=True)
    ]


def same(a, b, tolerance=1e-11):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_steps_agree_in_outputs_gradients_and_batch_statistics(dropout):
    results = []
    for decoder in make_pair(dropout):
        features = [x.requires_grad_() for x in make_features()]
        torch.manual_seed(5)  # the same dropout mask
        outputs = decoder(features)
        weight = torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).view_as(outputs)
        (weight * outputs).sum().backward()
        gradients = {name: p.grad for name, p in decoder.named_parameters()}
        of_features = [x.grad for x in features]
        results.append((outputs, gradients, of_features, dict(decoder.named_buffers())))
    folded, literal = results

    assert folded[0].shape == (2, 4, 12, 18)
    for name, gradient in literal[1].items():
        # Only the biases of the projections have no gradient: BatchNorm subtracts them.
        assert ("projections" in name and "bias" in name) or gradient.abs().max() > 1e-3, name
    same(folded, literal)


def test_original_folded_and_frozen_decoder_agree_in_evaluation():
    folded, literal = (decoder.eval() for decoder in make_pair(dropout=0.5))
    features = make_features()
    expected = literal(features)
    same(folded(features), expected)
    same(folded.fold_for_inference()(features), expected)
    assert expected.std() > 0.1
    assert folded.state_dict().keys() == literal.state_dict().keys()


def test_the_original_form_is_project_upsample_concatenate_fuse():
    _, literal = make_pair()
    literal.eval()
    pairs = zip(WIDTHS, SIZES, strict=True)
    features = [torch.full((1, w, *s), 0.5 + w, dtype=torch.float64) for w, s in pairs]
    # Constant maps remain constant, so one pixel is enough.
    p = literal.state_dict()
    columns = [
        p[f"projections.{i}.weight"] @ features[i][0, :, 0, 0] + p[f"projections.{i}.bias"]
        for i in (3, 2, 1, 0)
    ]
    fused = p["fuse.weight"][:, :, 0, 0] @ torch.cat(columns)
    normed = (fused - p["norm.running_mean"]) / (p["norm.running_var"] + 1e-5).sqrt()
    normed = (normed * p["norm.weight"] + p["norm.bias"]).clamp_min(0)
    expected = p["head.weight"][:, :, 0, 0] @ normed + p["head.bias"]
    same(literal(features), expected.view(1, 4, 1, 1).expand(1, 4, 12, 18))


def test_a_frozen_decoder_is_a_copy_without_gradients():
    folded, _ = make_pair()
    frozen = folded.eval().fold_for_inference()
    before = frozen(make_features())
    assert not any(p.requires_grad for p in frozen.parameters())
    with torch.no_grad():
        for p in folded.parameters():
            p.zero_()
    assert torch.equal(frozen(make_features()), before)


def test_under_autocast_only_a_float32_head_stays_in_float32():
    features = [x.float() for x in make_features()]
    for float32_head, dtype in ((True, torch.float32), (False, torch.bfloat16)):
        decoder = make_pair(float32_head=float32_head)[0].float()
        inputs = []
        decoder.dropout.register_forward_hook(lambda _, __, out, inputs=inputs: inputs.append(out))
        with torch.autocast("cpu", torch.bfloat16):
            outputs = decoder(features)
        assert inputs[0].dtype == torch.bfloat16, "the rest of the decoder runs in bfloat16"
        assert outputs.dtype == dtype
        exact = decoder.head(inputs[0].float())
        error = (outputs.float() - exact).abs().max() / exact.abs().max()
        assert error < 1e-6 if float32_head else error > 1e-4
