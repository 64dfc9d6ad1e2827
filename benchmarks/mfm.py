"""The Multimodal Factorization Model: a training step against its formulation step by step.

``python -m benchmarks.mfm`` with one thread, at the sizes of the released code for CMU-MOSI: batches of 32, 20 steps of
300, 5 and 20 numbers. The step-by-step formulation is written here from the equations: at each step every LSTM reads
its modality, the attention is computed, and the memory is written. It has the parameters of ours; loss and gradient are
asserted to be equal before anything is timed.

Both do the same multiplications. What ours saves is many small calls: inputs, attention, proposals and the first layer
of the gates are computed for all steps at once, and encoders and decoders use the LSTM that torch brings along. The
line before the last says how long the multiplications alone take as large products: no formulation can be faster.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.timing import alternate
from mmtutor.mfm import MFM, MFN, ORIGINAL, LSTMDecoder, LSTMEncoder, absolute_error, mmd, sequence_mfm

B, T, FEATURES = 32, 20, {"language": 300, "acoustic": 5, "visual": 20}
Batch = dict[str, Tensor]


def cell(lstm: nn.LSTM, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """One step of an LSTM."""
    h, c = torch.lstm_cell(x, state, lstm.weight_ih_l0, lstm.weight_hh_l0, lstm.bias_ih_l0, lstm.bias_hh_l0)
    return h, c


def nothing(lstm: nn.LSTM | nn.LSTMCell) -> tuple[Tensor, Tensor]:
    """The state before the first step."""
    return torch.zeros(B, lstm.hidden_size), torch.zeros(B, lstm.hidden_size)


def fuse(m: MFN, batch: Batch) -> Tensor:
    """The Memory Fusion Network, step by step."""
    states = {modality: nothing(lstm) for modality, lstm in m.lstms.items()}
    u = torch.zeros(B, m.keep.out_features)
    for t in range(T):
        before = [c for _, c in states.values()]
        states = {modality: lstm(batch[modality][:, t], states[modality]) for modality, lstm in m.lstms.items()}
        both = torch.cat(before + [c for _, c in states.values()], 1)
        attended = m.attention(both).softmax(1) * both
        keep, write = m.gates(torch.cat([attended, u], 1)).relu().chunk(2, 1)
        u = m.keep(keep).sigmoid() * u + m.write(write).sigmoid() * m.propose(attended).tanh()
    return torch.cat([*(h for h, _ in states.values()), u], 1)


def encode(m: LSTMEncoder, batch: Batch) -> Tensor:
    """The last state of an LSTM, step by step."""
    state = nothing(m.lstm)
    for t in range(T):
        state = cell(m.lstm, batch[m.modality][:, t], state)
    return state[0]


def decode(m: LSTMDecoder, factors: Tensor) -> Tensor:
    """A sequence, step by step, the last one first."""
    state, steps = nothing(m.lstm), []
    for _ in range(T):
        state = cell(m.lstm, factors, state)
        steps.append(m.output(state[0]))
    return torch.stack(steps[::-1], 1)


def step_by_step(model: MFM, batch: Batch) -> Tensor:
    """The loss of an MFM."""
    zs, fs = {}, {}
    for name, part in model.parts.items():
        encoder = part.encoder
        zs[name] = part.to_latent(fuse(encoder, batch) if isinstance(encoder, MFN) else encode(encoder, batch))
        fs[name] = part.to_factor(zs[name])
    loss = F.l1_loss(model.classifier(fs["label"]), batch["label"])
    for modality, decoder in model.decoders.items():
        x_hat = decode(decoder, torch.cat([fs["label"], fs[modality]], 1))
        loss = loss + model.weights[modality] * F.mse_loss(x_hat, batch[modality])
    return loss + model.prior * sum(mmd(z) for z in zs.values())


def multiplications(model: MFM) -> float:
    """FLOP of one forward and backward pass: each weight of a matrix, twice forward and four times backward."""
    every_step = [m for m in model.modules() if isinstance(m, MFN | LSTMDecoder)]
    every_step += [m.lstm for m in model.modules() if isinstance(m, LSTMEncoder)]
    weights = [p for m in every_step for p in m.parameters() if p.ndim == 2]
    once = sum(p.numel() for p in model.parameters() if p.ndim == 2) - sum(p.numel() for p in weights)
    return 6.0 * B * (T * sum(p.numel() for p in weights) + once)


def main() -> None:
    """Print times and, as the last line, the ratio."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = sequence_mfm(FEATURES, T, 1, label_cost=absolute_error, **ORIGINAL)
    batch = {modality: torch.randn(B, T, d) for modality, d in FEATURES.items()} | {"label": torch.randn(B, 1)}
    losses = {"step by step": lambda: step_by_step(model, batch), "ours": lambda: model.loss(batch)["loss"]}

    def train(loss: Callable[[], Tensor]) -> Callable[[], tuple[Tensor, Tensor]]:
        def step() -> tuple[Tensor, Tensor]:
            model.zero_grad()
            value = loss()
            value.backward()
            return value.detach(), torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()

        return step

    steps = {name: train(loss) for name, loss in losses.items()}
    for textbook, ours in zip(*(step() for step in steps.values()), strict=True):
        torch.testing.assert_close(textbook, ours, rtol=1e-5, atol=0)
    a = torch.randn(1024, 1024)
    seconds = alternate({**steps, "a product": lambda: a @ a})
    bound = multiplications(model) * seconds.pop("a product") / (2 * 1024**3)
    print(f"forward and backward, batch {B}, {T} steps of {', '.join(map(str, FEATURES.values()))}, one thread")
    for name, s in seconds.items():
        print(f"{name:>12} {1000 * s:6.1f} ms")
    print(f"the multiplications alone, {multiplications(model) / 1e9:.1f} GFLOP, {1000 * bound:.1f} ms")
    print(f"ratio: {seconds['step by step'] / seconds['ours']:.1f} (step by step over ours, a training step)")


if __name__ == "__main__":
    main()
