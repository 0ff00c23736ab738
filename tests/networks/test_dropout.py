"""The fast dropout has the statistics of dropout."""

import pytest
import torch

from emu_core.networks.dropout import Dropout, sampling


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5])
def test_a_fraction_p_is_dropped_and_the_rest_scaled(p):
    torch.manual_seed(0)
    n = 400_003  # not a multiple of the four elements per random number
    out = Dropout(p)(torch.ones(n))
    values = out.unique()
    assert values.tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-4)
    deviation = (p * (1 - p) / n) ** 0.5
    assert (out == 0).double().mean() == pytest.approx(p, abs=5 * deviation)
    # Each of the four elements of one random number, and pairs of neighbours.
    dropped = (out[: n // 4 * 4] == 0).view(-1, 4).double()
    assert dropped.mean(0).tolist() == pytest.approx([p] * 4, abs=10 * deviation)
    pairs = (dropped[:, 1:] * dropped[:, :-1]).mean(0)
    assert pairs.tolist() == pytest.approx([p * p] * 3, abs=10 * deviation)


def test_it_keeps_type_and_memory_format_and_covers_every_element():
    torch.manual_seed(0)
    x = torch.rand(2, 5, 7, 9).add(1).to(torch.bfloat16).to(memory_format=torch.channels_last)
    out = Dropout(0.5)(x)
    assert out.dtype == torch.bfloat16
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.all((out == 0) | (out == 2 * x))
    repeated = x.expand(3, *x.shape)  # three views of the same memory have three masks
    zeros = Dropout(0.5)(repeated) == 0
    assert not torch.equal(zeros[0], zeros[1])


def test_the_gradient_has_the_same_mask():
    torch.manual_seed(0)
    x = torch.rand(1000).add(1).requires_grad_()
    out = Dropout(0.5)(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, (out / x).detach())


def test_it_is_the_identity_in_evaluation_and_at_p_0_and_zero_at_p_1():
    x = torch.rand(10)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(1.0)(x), torch.zeros(10))
    assert Dropout(1 - 1e-9)(x).isfinite().all()


@pytest.mark.parametrize("p", [0.2, 0.5, 1.0])
def test_sampling_drops_the_same_units_of_every_image_in_evaluation_mode(p):
    dropout, n = Dropout(p).eval(), 100_003
    network, generator = torch.nn.Sequential(dropout), torch.Generator().manual_seed(0)
    x = torch.ones(3, n)
    with sampling(network, generator):
        first, second = network(x), network(x)
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[0], first[2])
    assert (first == 0).double().mean() == pytest.approx(p, abs=5 * (p * (1 - p) / n) ** 0.5)
    if p < 1:
        assert first.max().item() == pytest.approx(1 / (1 - p), rel=1e-4)
        assert not torch.equal(first, second)
    assert torch.equal(network(x), x)  # inactive after the block


def test_sampling_also_ends_after_an_error():
    network = torch.nn.Sequential(Dropout(0.5)).eval()
    with pytest.raises(RuntimeError), sampling(network, torch.Generator()):
        raise RuntimeError
    assert torch.equal(network(torch.ones(1, 9)), torch.ones(1, 9))
