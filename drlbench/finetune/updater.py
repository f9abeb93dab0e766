"""One optimiser update: accumulated gradients, ranks summed, clip, warm-up, Adam, weight average, NaN guard."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from drlbench.errors import Diverged, UserError
from drlbench.finetune.finite import REMEDY
from drlbench.finetune.ranks import all_sum, world
from drlbench.finetune.settings import Settings
from drlbench.finetune.sharding import give_back, is_divided, own_part, whole


class Updater:
    """Owns the optimiser of the trainable parameters of a network.

    Gradients are taken with `torch.autograd.grad` and added only when a micro-batch is whole, so that a
    micro-batch that ran out of memory leaves no trace. Ranks add their sums once per update.

    Of a sharded network, FSDP gathers and adds the gradients in the backward pass of every micro-batch, and all state
    here is this rank's part.
    """

    def __init__(self, network: nn.Module, settings: Settings) -> None:
        named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
        if not named:
            raise UserError("the policy has no trainable parameters")
        self.names = [name for name, _ in named]
        self.parameters = [p for _, p in named]
        self.network, self.sharded = network, any(is_divided(p) for p in self.parameters)
        self.parts = [own_part(p) for p in self.parameters]
        self.settings = settings
        self.optimiser = torch.optim.AdamW(
            self.parts,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.updates = 0
        self.gradients: list[Tensor] | None = None
        self.average = [p.detach().clone() for p in self.parts] if settings.ema is not None else None

    def accumulate(self, loss: Tensor) -> None:
        """Add the gradient of one micro-batch's share of the loss."""
        if self.sharded:
            loss.backward()
            return
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        fresh = [
            torch.zeros_like(p) if g is None else g for g, p in zip(found, self.parameters, strict=True)
        ]  # an unused layer (a null label's embedding, say) has no gradient
        if self.gradients is None:
            self.gradients = fresh
        else:
            torch._foreach_add_(self.gradients, fresh)

    def step(self) -> dict[str, float]:
        """Apply the accumulated gradients.

        Returns:
            `gradient_norm` before clipping and `learning_rate`.

        Raises:
            Diverged: a gradient is not finite; nothing has been applied.
        """
        gradients = self._summed()
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        if self.sharded:
            norm = all_sum(norm.square()).sqrt()
        value = float(norm)
        if not torch.isfinite(norm):
            bad = [n for n, g in zip(self.names, gradients, strict=True) if not torch.isfinite(g).all()]
            raise Diverged(
                f"update {self.updates + 1}: the gradient of '{(bad or self.names)[0]}' is not finite "
                f"({len(bad)} of {len(self.names)} tensors); {REMEDY}"
            )
        clip = self.settings.gradient_clip
        if clip is not None and value > clip:
            torch._foreach_mul_(gradients, clip / value)
        rate = self.settings.learning_rate * min(1.0, (self.updates + 1) / max(1, self.settings.warmup))
        self.optimiser.param_groups[0]["lr"] = rate
        for p, g in zip(self.parts, gradients, strict=True):
            p.grad = g
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            assert self.settings.ema is not None
            # The usual ramp: early on the average follows the weights, so that it never remembers the start.
            decay = min(self.settings.ema, (1 + self.updates) / (10 + self.updates))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parts], 1 - decay)
        self.updates += 1
        return {"gradient_norm": value, "learning_rate": rate}

    def _summed(self) -> list[Tensor]:
        """The gradients accumulated by all ranks; of a sharded network, this rank's part of them."""
        if self.sharded:
            give_back(self.network)
            found = []
            for p, part in zip(self.parameters, self.parts, strict=True):
                # FSDP averages over ranks; a loss here is already each rank's share of the whole.
                found.append(torch.zeros_like(part) if p.grad is None else own_part(p.grad).detach() * world()[1])
                p.grad = None
            return found
        gradients = self.gradients or [torch.zeros_like(p) for p in self.parameters]
        self.gradients = None
        if world()[1] > 1:
            flat = all_sum(torch.cat([g.reshape(-1) for g in gradients]))
            pieces = flat.split([g.numel() for g in gradients])
            gradients = [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=True)]
        return gradients

    def whole_weights(self, averaged: bool = False) -> list[Tensor]:
        """The trained parameters, or their average where one is kept, whole on every rank."""
        parts = self.average if averaged and self.average is not None else self.parts
        return [whole(p, part.detach()) for p, part in zip(self.parameters, parts, strict=True)]

    def state_dict(self) -> dict[str, Tensor]:
        """Weights, Adam moments, weight average and the update count, as flat named tensors."""
        state: dict[str, Tensor] = {"updates": torch.tensor(self.updates)}
        for i, (name, p) in enumerate(zip(self.names, self.parts, strict=True)):
            state[f"weight/{name}"] = p.detach()
            for key, value in self.optimiser.state.get(p, {}).items():
                state[f"adam/{key}/{name}"] = value
            if self.average is not None:
                state[f"average/{name}"] = self.average[i]
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            UserError: a tensor is missing or has another shape.
        """
        self.updates = int(state["updates"])
        for i, (name, p) in enumerate(zip(self.names, self.parts, strict=True)):
            saved = state.get(f"weight/{name}")
            if saved is None or saved.shape != p.shape:
                raise UserError(f"the checkpoint has no tensor '{name}' of shape {tuple(p.shape)}: another network?")
            with torch.no_grad():
                p.copy_(saved)
            if self.average is not None:
                self.average[i].copy_(state[f"average/{name}"])
            if self.updates:
                self.optimiser.state[p] = {
                    "step": state[f"adam/step/{name}"].clone().to(p.device),
                    "exp_avg": state[f"adam/exp_avg/{name}"].clone().to(p.device),
                    "exp_avg_sq": state[f"adam/exp_avg_sq/{name}"].clone().to(p.device),
                }
