"""What all algorithms share: validated settings, the updater, forwards in the chosen precision, draws, state.

Every random number is a function of (seed, stream, index), so a resumed run needs counters, not generator
states, and a trajectory is the same on one rank or on eight.

Shapes: B batch, C channels, H and W height and width of the latent.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from drlbench.backbones.base import VelocityModel
from drlbench.errors import UserError
from drlbench.finetune.base import Algorithm
from drlbench.finetune.compiling import compiled
from drlbench.finetune.finite import check_finite
from drlbench.finetune.latents import Latents
from drlbench.finetune.lora import add_low_rank, merge_low_rank
from drlbench.finetune.memory import Chunks, recompute_activations
from drlbench.finetune.ranks import world
from drlbench.finetune.settings import Settings
from drlbench.finetune.sharding import shard
from drlbench.finetune.updater import Updater
from drlbench.flow.memoryless import PathNoise
from drlbench.flow.path import Velocity
from drlbench.rewards.base import Reward
from drlbench.seeds import derive_seed
from drlbench.settings import parse_settings

PATHS, LABELS, ORDER, TIMES, ROWS = range(1, 6)  # streams of random numbers


def _attention(device: str) -> AbstractContextManager[object]:
    """PyTorch's fused attention in bf16 takes twice the time of the plain one to differentiate on a CPU."""
    plain = device == "cpu" and torch.is_grad_enabled()
    return sdpa_kernel(SDPBackend.MATH) if plain else nullcontext()


def shadow(model: VelocityModel) -> VelocityModel:
    """A frozen copy with its own network and the same autoencoder."""
    memo = {id(model.autoencoder): model.autoencoder}
    twin = copy.deepcopy(model, memo)
    return twin.requires_grad_(False).eval()


class Learner(Algorithm):
    """Base of all algorithms here; a subclass names its settings and writes `step`."""

    name: ClassVar[str]
    kind: ClassVar[type[Settings]]
    needs_reward: ClassVar[bool] = True
    needs_data: ClassVar[bool] = False
    Record: ClassVar[type[Settings]]  # what `drlbench validate` checks a suite's settings against: `kind`

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" in cls.__dict__:
            cls.Record = cls.kind

    def __init__(
        self,
        policy: VelocityModel,
        reference: VelocityModel,
        reward: Reward | None,
        data: tuple[Latents, Tensor] | None,
        settings: dict[str, Any],
        seed: int,
    ) -> None:
        """See `Algorithm`.

        Raises:
            UserError: a setting is wrong, or the reward or data this algorithm needs is missing.
        """
        if policy is reference:
            raise ValueError("policy and reference must be two objects: the policy is trained in place")
        if self.needs_reward and reward is None:
            raise UserError(f"{self.name} needs a reward")
        if self.needs_data and data is None:
            raise UserError(f"{self.name} learns from data: give it latents and labels")
        self.settings = parse_settings(self.kind, settings, self.name)
        self.seed = seed
        self.policy = policy.eval()  # no label dropout: only the class-conditional branch is trained
        self.reference = reference.eval().requires_grad_(False)
        self.reward = reward.eval().requires_grad_(False) if reward is not None else None
        self.data = data
        if self.settings.lora_rank is not None:
            add_low_rank(self.policy.net, self.settings.lora_rank, self.settings.lora_alpha, seed)
        self.sharded = self.settings.sharding == "fsdp" and world()[1] > 1
        if self.sharded:
            self._check_sharding()
            shard(self.policy.net)
        self.updater = Updater(self.policy.net, self.settings)
        self.device = self.updater.parameters[0].device
        self.chunks = self.chunked(self.settings.micro_batch)
        self.policy_velocity = self.in_precision(self.policy)
        self.reference_velocity = self.in_precision(self.reference)
        self._prepare()

    def _prepare(self) -> None:
        """What a subclass sets up from its settings; called once, at the end of the constructor."""

    def _check_sharding(self) -> None:
        s, ranks = self.settings, world()[1]
        if s.lora_rank is not None:
            raise UserError(f"{self.name}: sharding fsdp is for full fine-tuning; low-rank updates fit on every rank")
        if s.batch % ranks:
            raise UserError(f"{self.name}: with sharding fsdp, batch ({s.batch}) must be a multiple of {ranks} ranks")

    def chunked(self, size: int | None) -> Chunks:
        """Chunks of at most `size` rows; ranks that share a network keep to one size."""
        return Chunks(size, fixed=self.sharded)

    @property
    def signature(self) -> str:
        """Algorithm, settings and seed: a checkpoint resumes only under the same one."""
        return f"{self.name} {self.settings.model_dump_json(by_alias=True)} seed {self.seed}"

    def in_precision(self, model: VelocityModel) -> Velocity:
        """`model.velocity` under autocast and torch.compile as the settings ask; float32 out."""
        call: Velocity = compiled(model) if self.settings.compile else model.velocity
        if self.settings.precision == "fp32":
            return call
        inner, kind = call, self.device.type

        def cast(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            with torch.autocast(kind, dtype=torch.bfloat16), _attention(kind):
                return inner(x, t, y).float()

        return cast

    def labels(self, indices: Sequence[int]) -> Tensor:
        """Class of each endpoint by its index, (B,) int64: every C consecutive indices hold each class once."""
        classes = self.policy.num_classes
        orders: dict[int, Tensor] = {}
        chosen = []
        for i in indices:
            block, place = divmod(i, classes)
            if block not in orders:
                generator = torch.Generator().manual_seed(derive_seed(self.seed, LABELS, block))
                orders[block] = torch.randperm(classes, generator=generator)
            chosen.append(orders[block][place])
        return torch.stack(chosen).to(self.device)

    def path_noise(self, indices: Sequence[int]) -> PathNoise:
        """The noise stream of each endpoint by its index."""
        seeds = [derive_seed(self.seed, PATHS, i) for i in indices]
        return PathNoise(seeds, self.policy.latent_shape, self.device)

    def generator(self, stream: int, *counters: int) -> torch.Generator:
        """A CPU generator for one draw, named by a stream and counters."""
        return torch.Generator().manual_seed(derive_seed(self.seed, stream, *counters))

    def own_rows(self, count: int) -> list[int]:
        """Which rows of a batch of `count` this rank works on."""
        rank, ranks = world()
        return list(range(rank, count, ranks))

    def drawn(self, kind: str, shape: tuple[int, ...], *counters: int) -> Tensor:
        """Normal or uniform numbers named by (seed, counters): the whole batch's, the same on every rank."""
        generator = torch.Generator(self.device).manual_seed(derive_seed(self.seed, ROWS, *counters))
        draw = torch.randn if kind == "normal" else torch.rand
        return draw(shape, generator=generator, device=self.device)

    def score(self, latents: Tensor, y: Tensor) -> Tensor:
        """Rewards (B,) of latents (B, C, H, W), without gradient."""
        assert self.reward is not None
        with torch.no_grad():
            rewards = self.reward(self.policy.decode(latents), y).float()
        check_finite(self.updater.updates + 1, "reward", rewards, range(len(rewards)))
        return rewards

    def recompute(self) -> Any:
        """Context in which the policy's activations are recomputed, when the settings ask for it."""
        return recompute_activations(self.policy.net, self.settings.activation_checkpointing)

    def shadow_of_policy(self, averaged: bool = False) -> VelocityModel:
        """A frozen copy with whole weights, or their average where one is kept; every rank gets it."""
        # A sharded network cannot be copied, but the reference has the same layers.
        twin = shadow(self.reference if self.sharded else self.policy)
        own = dict(twin.net.named_parameters())
        for name, value in zip(self.updater.names, self.updater.whole_weights(averaged), strict=True):
            own[name].copy_(value)
        return twin

    def finished_policy(self) -> VelocityModel:
        """A frozen copy of the policy: the weight average where one is kept, low-rank updates merged in."""
        finished = self.shadow_of_policy(averaged=True)
        if self.settings.lora_rank is not None:
            merge_low_rank(finished.net)
        return finished

    @abstractmethod
    def _own_state(self) -> dict[str, Tensor]:
        """Counters and buffers of the subclass, as flat named tensors."""

    @abstractmethod
    def _load_own_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `_own_state` gave."""

    def state_dict(self) -> dict[str, Tensor]:
        own = {f"own/{name}": value for name, value in self._own_state().items()}
        return {f"updater/{name}": value for name, value in self.updater.state_dict().items()} | own

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}

        self.updater.load_state_dict(part("updater/"))
        self._load_own_state(part("own/"))
