"""The written-out backward passes against torch's own layers and against finite differences."""

import pytest
import torch
from torch import Tensor, nn

from rlteach.distillation.recurrent import gru, lstm

CASES = [pytest.param(gru, nn.GRU, 1, id="gru"), pytest.param(lstm, nn.LSTM, 2, id="lstm")]
T, N, D, H = 7, 3, 4, 5


def example(layer_class, parts, *, t=T, share=0.3):
    generator = torch.Generator().manual_seed(1)
    layer = layer_class(D, H).double()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_(generator=generator)
    rows = torch.randn(t, N, D, generator=generator, dtype=torch.float64, requires_grad=True)
    starts = torch.rand(t, N, generator=generator) < share
    state = torch.randn(N, parts * H, generator=generator, dtype=torch.float64, requires_grad=True)
    initial = torch.randn(parts * H, generator=generator, dtype=torch.float64, requires_grad=True)
    return layer, rows, starts, state, initial


def step_by_step(layer: nn.RNNBase, rows: Tensor, starts: Tensor, state: Tensor, initial: Tensor):
    """Call torch's layer for one step at a time, as someone would who knows nothing of this module."""
    outputs = []
    for row, begun in zip(rows, starts, strict=True):
        state = torch.where(begun[:, None], initial, state)
        if isinstance(layer, nn.LSTM):
            output, after = layer(row[None], tuple(part[None].contiguous() for part in state.chunk(2, dim=1)))
            state = torch.cat([part[0] for part in after], dim=1)
        else:
            output, after = layer(row[None], state[None])
            state = after[0]
        outputs.append(output[0])
    return torch.stack(outputs), state


@pytest.mark.parametrize(("run", "layer_class", "parts"), CASES)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_outputs_and_gradients_are_those_of_torchs_layer_called_step_by_step(run, layer_class, parts, share):
    layer, rows, starts, state, initial = example(layer_class, parts, share=share)
    leaves = [rows, state, initial, *layer.parameters()]
    ours = run(rows, starts, state, initial, layer.all_weights[0])
    theirs = step_by_step(layer, rows, starts, state, initial)
    weights = [torch.randn_like(part) for part in ours]
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)

    def gradients(parts):
        total = sum((part * weight).sum() for part, weight in zip(parts, weights, strict=True))
        found = torch.autograd.grad(total, leaves, allow_unused=True)
        return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]

    for mine, other in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize(("run", "layer_class", "parts"), CASES)
def test_gradients_are_those_of_finite_differences(run, layer_class, parts):
    layer, rows, starts, state, initial = example(layer_class, parts, t=3)

    def outputs(rows, state, initial, *weights):
        return run(rows, starts, state, initial, weights)

    assert torch.autograd.gradcheck(outputs, (rows, state, initial, *layer.all_weights[0]))


@pytest.mark.parametrize(("run", "layer_class", "parts"), CASES)
def test_inputs_are_left_as_they_are(run, layer_class, parts):
    layer, rows, starts, state, initial = example(layer_class, parts)
    before = [value.clone() for value in (rows, starts, state, initial, *layer.parameters())]
    outputs, _ = run(rows, starts, state, initial, layer.all_weights[0])
    outputs.sum().backward()
    for value, kept in zip((rows, starts, state, initial, *layer.parameters()), before, strict=True):
        assert torch.equal(value, kept)
