"""The network of a mentor: a loss, its distance to the threshold and the time give one logit."""

import math
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError, ShapeError, unknown
from ..randomness import seeded, stream

Form: TypeAlias = Literal["gate", "mlp"]
Time: TypeAlias = Literal["code", "progress"]

_HIDDEN = 20


class MentorNetwork(nn.Module):
    """``g(l, d, e)``; the weight of an example is ``sigmoid(g)``.

    *gate*: two cells ``c = sigmoid(w_i.x + b_i) * tanh(w_j.x + b_j)`` with ``x = (l, d)`` stand beside a trained code
    of the label (two numbers; the label is always 0) and the time; then 20 tanh units and one output. A cell is the
    cell state of an LSTM unit after one step from zero: its forget and output gates and recurrent weights never
    matter. *mlp*: (l, d, time), 20 tanh units, one output.

    Time is ``e / 99``, or with ``time="code"`` one of 100 frozen random codes of 5 numbers, as published. Trained
    parameters: gate 235 (code) or 155 (progress), mlp 101.

    Args:
        form: ``"gate"`` or ``"mlp"``.
        time: ``"progress"``, or ``"code"`` (gate only).
        seed: of the initialisation: codes and cells Glorot uniform (cells as a 3 x 4 matrix, biases 0), the rest
            N(0, 1).
        bias_in_matrix: ``tanh(h) @ (W + b)`` instead of ``tanh(h) @ W + b``, as the published code has it.

    Raises:
        ConfigError: for an unknown form or time, or codes with the mlp form.

    Source: Jiang et al., "MentorNet: learning data-driven curriculum for very deep neural networks on corrupted
    labels", ICML 2018, figure 2, and its published code.
    """

    times: Tensor

    def __init__(
        self, form: Form = "gate", time: Time = "progress", *, seed: int, bias_in_matrix: bool = False
    ) -> None:
        super().__init__()
        if form not in get_args(Form):
            raise ConfigError(unknown("form of a mentor", form, get_args(Form)))
        if time not in get_args(Time):
            raise ConfigError(unknown("time of a mentor", time, get_args(Time)))
        if form == "mlp" and time == "code":
            raise ConfigError('a mentor of the form "mlp" has no time codes; use time="progress", or form="gate".')
        self.form, self.time, self.bias_in_matrix = form, time, bias_in_matrix
        with seeded(stream(seed, "mentor network")):
            if time == "code":
                self.register_buffer("times", nn.init.xavier_uniform_(torch.empty(100, 5, dtype=torch.float32)))
            width = 5 if time == "code" else 1
            if form == "gate":
                self.label = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, 2, dtype=torch.float32))[0])
                bound = math.sqrt(6 / 7)
                self.gates = _linear(2, 4)  # rows: w_i of both cells, then w_j of both
                nn.init.uniform_(self.gates.weight, -bound, bound)
                nn.init.zeros_(self.gates.bias)
                width += 2
            self.hidden, self.out = _linear(2 + width, _HIDDEN), _linear(_HIDDEN, 1)
            for parameter in (*self.hidden.parameters(), *self.out.parameters()):
                nn.init.normal_(parameter)

    def extra_repr(self) -> str:
        """Return form and time."""
        return f"{self.form}, {self.time}"

    def cells(self, loss: Tensor, difference: Tensor) -> Tensor:
        """Return the two cells of the gate form, shape (..., 2)."""
        i, j = self.gates(torch.stack((loss, difference), -1)).chunk(2, -1)
        cells: Tensor = i.sigmoid() * j.tanh()
        return cells

    def forward(self, loss: Tensor, difference: Tensor, percent: Tensor | int) -> Tensor:
        """Return the logits.

        Args:
            loss: l >= 0, of any shape, such as (B,) or (S, B), in the dtype of the network.
            difference: d = l - threshold, of the same shape.
            percent: e in 0..99, one number, or an int64 tensor of the same shape.

        Returns:
            A logit an example, of the shape of ``loss``.

        Raises:
            ShapeError: if the tensors differ in shape.
            ConfigError: if ``percent`` is a number outside 0..99.
        """
        shapes = {tuple(t.shape) for t in (loss, difference, percent) if isinstance(t, Tensor)}
        if len(shapes) > 1:
            raise ShapeError(
                f"a mentor needs loss, difference and percent of one shape; got {', '.join(map(str, sorted(shapes)))}."
            )
        time = self._time(percent, loss)
        if self.form == "gate":
            features = torch.cat((self.label.expand(*loss.shape, 2), time, self.cells(loss, difference)), -1)
        else:
            features = torch.cat((loss.unsqueeze(-1), difference.unsqueeze(-1), time), -1)
        hidden = self.hidden(features).tanh()
        if self.bias_in_matrix:
            return F.linear(hidden, self.out.weight + self.out.bias).squeeze(-1)
        logits: Tensor = self.out(hidden)
        return logits.squeeze(-1)

    def _time(self, percent: Tensor | int, like: Tensor) -> Tensor:
        """Return the time feature, shape (..., 5) or (..., 1)."""
        if isinstance(percent, int) and not 0 <= percent <= 99:
            raise ConfigError(f"percent is {percent}; it is a percent of training, in 0..99.")
        if self.time == "code":
            return self.times[percent].expand(*like.shape, 5)
        if isinstance(percent, int):
            return torch.full_like(like, percent / 99.0).unsqueeze(-1)
        return (percent.to(like.dtype) / 99.0).unsqueeze(-1)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, dtype=torch.float32)
