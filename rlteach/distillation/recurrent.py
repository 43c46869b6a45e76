"""Recurrent layers over sequences in which episodes begin anywhere, with their backward passes written out.

torch's own layers know no episodes: cutting a batch wherever one of its rows starts an episode halves their speed when
1 % of the steps do. Here memory is put back row by row inside the loop over time. Inside the loop everything is
transposed to (features, n), so that every gate is one piece of memory, and the gradients of the weights are summed up
there, where what they need is still in the processor's cache.

Weights and their order are those of `torch.nn.GRU` and `torch.nn.LSTM`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Gradients = tuple[Tensor | None, ...]


def gru(
    rows: Tensor, starts: Tensor, state: Tensor, initial: Tensor, weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Run a gated recurrent unit (Cho et al., 2014, in torch's form: the reset gate acts on the product).

    Args:
        rows: Inputs (t, n, d).
        starts: (t, n) bool, where an episode begins: its memory is `initial` before that step.
        state: (n, h) before the first step.
        initial: (h,).
        weights: Of the inputs (3 h, d), of the state (3 h, h), and the biases of both (3 h,); gates in the order reset,
            update, new.

    Returns:
        Outputs (t, n, h) and the final state (n, h).
    """
    outputs: Tensor = _GRU.apply(rows, starts, state, initial, *weights)  # type: ignore[no-untyped-call]
    return outputs, outputs[-1]


def lstm(
    rows: Tensor, starts: Tensor, state: Tensor, initial: Tensor, weights: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Run long short-term memory (Hochreiter and Schmidhuber, 1997; with the forget gate of Gers et al., 2000).

    Args:
        rows: Inputs (t, n, d).
        starts: (t, n) bool, where an episode begins: its memory is `initial` before that step.
        state: (n, 2 h) before the first step: the hidden vector, behind it the cell.
        initial: (2 h,).
        weights: Of the inputs (4 h, d), of the state (4 h, h), and the biases of both (4 h,); gates in the order input,
            forget, cell, output.

    Returns:
        Outputs (t, n, h) and the final state (n, 2 h).
    """
    outputs, cell = _LSTM.apply(rows, starts, state, initial, *weights)  # type: ignore[no-untyped-call]
    return outputs, torch.cat([outputs[-1], cell], dim=1)


class _GRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        starts: Tensor,
        state: Tensor,
        initial: Tensor,
        of_input: Tensor,
        of_state: Tensor,
        input_bias: Tensor,
        state_bias: Tensor,
    ) -> Tensor:
        t, n, h = len(rows), rows.shape[1], of_state.shape[1]
        bias = _column(torch.cat([input_bias[: 2 * h] + state_bias[: 2 * h], input_bias[2 * h :]]), n)
        candidate_bias = _column(state_bias[2 * h :], n)
        of_gates, of_candidate = of_state[: 2 * h], of_state[2 * h :]
        gates = rows.new_empty(t, 3 * h, n)  # r, z, new
        before, candidates, outputs = rows.new_empty(3, t, h, n)
        now, begins = state.t(), _Begins(starts)
        for i, (row, gate, was, candidate, output) in enumerate(
            zip(rows, gates, before, candidates, outputs, strict=True)
        ):
            begins.put_back(i, now, initial, out=was)
            torch.addmm(bias, of_input, row.t(), out=gate)
            rz, new = gate[: 2 * h], gate[2 * h :]
            rz.addmm_(of_gates, was).sigmoid_()
            torch.addmm(candidate_bias, of_candidate, was, out=candidate)
            new.addcmul_(rz[:h], candidate).tanh_()
            now = torch.lerp(new, was, rz[h:], out=output)
        ctx.begins = begins
        ctx.save_for_backward(rows, of_input, of_state, gates, before, candidates)
        features: Tensor = outputs.transpose(1, 2).contiguous()
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Gradients:
        rows, of_input, of_state, gates, before, candidates = ctx.saved_tensors
        h = of_state.shape[1]
        r, z, new = gates.split(h, dim=1)
        by_new = (1 - z) * (1 - new * new)
        # In this order the sums of the inputs' gates are the first 3 h, those of the state's the last 3 h.
        by_sums = torch.cat(
            [by_new, by_new * candidates * r * (1 - r), (before - new) * z * (1 - z), by_new * r], dim=1
        )
        new_first = of_input.roll(h, 0)
        g_input, g_state, inputs = torch.zeros_like(of_input), torch.zeros_like(of_state), torch.empty_like(rows)
        carried, at_start, total = (
            torch.zeros_like(before[0]),
            torch.zeros_like(before[0]),
            torch.zeros_like(by_sums[0]),
        )
        out, sums, back = torch.empty_like(carried), torch.empty_like(total), of_state.t()
        of_inputs, of_states, of_rows = sums[: 3 * h], sums[h:], sums[: 3 * h].t()
        steps = list(zip(gradient, by_sums, z, before, rows, inputs, strict=True))
        for i in reversed(range(len(rows))):
            by_output, by_sum, update, was, row, into_row = steps[i]
            torch.add(carried, by_output.t(), out=out)
            torch.mul(by_sum.view(4, *out.shape), out, out=sums.view(4, *out.shape))
            torch.mul(out, update, out=carried).addmm_(back, of_states)
            ctx.begins.stop(i, carried, at_start)
            torch.mm(of_rows, new_first, out=into_row)
            g_input.addmm_(of_inputs, row)
            g_state.addmm_(of_states, was.t())
            total += sums
        biases = total.sum(1)
        g_input, input_bias = g_input.roll(-h, 0), biases[: 3 * h].roll(-h, 0)
        return inputs, None, carried.t(), at_start.sum(1), g_input, g_state, input_bias, biases[h:]


class _LSTM(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        starts: Tensor,
        state: Tensor,
        initial: Tensor,
        of_input: Tensor,
        of_state: Tensor,
        input_bias: Tensor,
        state_bias: Tensor,
    ) -> tuple[Tensor, Tensor]:
        t, n, h = len(rows), rows.shape[1], of_state.shape[1]
        bias = _column(input_bias + state_bias, n)
        gates, before = rows.new_empty(t, 4 * h, n), rows.new_empty(t, 2 * h, n)  # i, f, g, o; hidden vector and cell
        squashed, outputs = rows.new_empty(2, t, h, n)
        now, begins = state.t().clone(memory_format=torch.contiguous_format), _Begins(starts)
        hidden, cell = now[:h], now[h:]
        for i, (row, gate, was, squash, output) in enumerate(zip(rows, gates, before, squashed, outputs, strict=True)):
            begins.put_back(i, now, initial, out=was)
            torch.addmm(bias, of_input, row.t(), out=gate).addmm_(of_state, was[:h])
            gate[: 2 * h].sigmoid_()
            candidate = gate[2 * h : 3 * h].tanh_()
            opened = gate[3 * h :].sigmoid_()
            torch.mul(gate[h : 2 * h], was[h:], out=cell).addcmul_(gate[:h], candidate)
            torch.tanh(cell, out=squash)
            hidden.copy_(torch.mul(opened, squash, out=output))
        ctx.begins = begins
        ctx.save_for_backward(rows, of_input, of_state, gates, before, squashed)
        return outputs.transpose(1, 2).contiguous(), cell.t().contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, last_cell: Tensor) -> Gradients:
        rows, of_input, of_state, gates, before, squashed = ctx.saved_tensors
        h = of_state.shape[1]
        i_, f, g, o = gates.split(h, dim=1)
        by_opened, by_cell = squashed * o * (1 - o), o * (1 - squashed * squashed)
        by_gates = torch.cat([g * i_ * (1 - i_), before[:, h:] * f * (1 - f), i_ * (1 - g * g)], dim=1)
        g_input, g_state, inputs = torch.zeros_like(of_input), torch.zeros_like(of_state), torch.empty_like(rows)
        carried, at_start, total = torch.zeros_like(before[0]), torch.zeros_like(before[0]), torch.zeros_like(gates[0])
        hidden, cell = carried[:h], carried[h:]
        cell.copy_(last_cell.t())
        out, sums, back = torch.empty_like(hidden), torch.empty_like(total), of_state.t()
        steps = list(zip(gradient, by_cell, by_gates, by_opened, f, before, rows, inputs, strict=True))
        for i in reversed(range(len(rows))):
            by_output, by_c, by_gate, by_o, forget, was, row, into_row = steps[i]
            torch.add(hidden, by_output.t(), out=out)
            cell.addcmul_(out, by_c)
            torch.mul(by_gate.view(3, *cell.shape), cell, out=sums[: 3 * h].view(3, *cell.shape))
            torch.mul(out, by_o, out=sums[3 * h :])
            torch.mm(back, sums, out=hidden)
            cell *= forget
            ctx.begins.stop(i, carried, at_start)
            torch.mm(sums.t(), of_input, out=into_row)
            g_input.addmm_(sums, row)
            g_state.addmm_(sums, was[:h].t())
            total += sums
        bias = total.sum(1)
        return inputs, None, carried.t(), at_start.sum(1), g_input, g_state, bias, bias


class _Begins:
    """Where episodes begin; most steps of most batches begin none, which costs nothing."""

    def __init__(self, starts: Tensor) -> None:
        self._starts, self._some = starts, starts.any(1).tolist()

    def put_back(self, i: int, state: Tensor, initial: Tensor, *, out: Tensor) -> None:
        """Write the state (k, n) that step `i` begins with."""
        if self._some[i]:
            torch.where(self._starts[i], initial[:, None], state, out=out)
        else:
            out.copy_(state)

    def stop(self, i: int, carried: Tensor, at_start: Tensor) -> None:
        """Move the gradients (k, n) that would pass an episode's start at step `i` from `carried` to `at_start`."""
        if self._some[i]:
            begun = self._starts[i]
            at_start += carried * begun
            carried.masked_fill_(begun, 0.0)


def _column(bias: Tensor, n: int) -> Tensor:
    """Return a bias (k,) as columns (k, n) in memory, which a product takes up faster than a repeated one."""
    return bias[:, None].repeat(1, n)
