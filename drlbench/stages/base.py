"""Stage: the base model, trained here by flow matching or brought from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from drlbench import backbones
from drlbench.backbones import loading, origin
from drlbench.backbones.autoencoders import SD_SCALE, SDVAE
from drlbench.backbones.base import Backbone, VelocityModel
from drlbench.backbones.cards import CARDS
from drlbench.backbones.pretrain import pretrain
from drlbench.backbones.rae.small import LatentSettings, SmallRAE
from drlbench.data.sources import read_dataset
from drlbench.encoders.base import Encoder
from drlbench.errors import UserError
from drlbench.seeds import seed_of, seeded
from drlbench.settings import parse_settings
from drlbench.stages import Job
from drlbench.stages.files import (
    AUTOENCODER,
    CONFIG,
    load_encoders,
    save_model,
    save_small_rae,
    write_curve,
    write_description,
)
from drlbench.store import atomic
from drlbench.training import TrainingLog, to_float
from drlbench.weights.parts import parts_of

if TYPE_CHECKING:
    from drlbench.cost.stage import Stage
    from drlbench.cost.work import Work


def run(job: Job) -> None:
    """Build and train, or load once to see that everything fits; keep what `load_model` needs."""
    if "model" in job.settings:
        _bring(job)
    else:
        _train(job)


def _bring(job: Job) -> None:
    """A reference to the checkpoint with its checksum; the file stays where it is."""
    s, where = job.settings["model"], job.settings["where"]
    path = loading.locate(where["checkpoint"], progress=lambda done: job.progress(done / 2))
    card = CARDS.get(where["checkpoint"])
    ema = loading.ema_of(where["checkpoint"], s["ema"])
    try:
        loaded = loading.load_network(path, s["name"], s["architecture"], ema)
    except UserError as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    files = origin.autoencoder_files(where["autoencoder"])
    decoder = loading.load_autoencoder(where["autoencoder"])
    _check_decoder(backbones.wrap(loaded.net, decoder), where["autoencoder"])
    autoencoder: str | dict[str, Any] = "pixels"
    if files:
        autoencoder = {"name": _absolute(where["autoencoder"]), "files": origin.hashes(files)}
    checkpoint = {"name": _absolute(where["checkpoint"]), "ema": ema, "sha256": parts_of(path).sha256()}
    config = {"kind": "model", "family": loaded.name, "architecture": loaded.architecture, "autoencoder": autoencoder}
    atomic.put_json(job.out / CONFIG, {**config, "checkpoint": checkpoint})
    parameters = sum(p.numel() for p in loaded.net.parameters())
    scaling = f"autoencoder: {decoder.scaling}" if isinstance(decoder, SDVAE) and decoder.scale != SD_SCALE else ""
    note = "; ".join(part for part in (loaded.note, scaling) if part)
    facts = {"checkpoint": card.name if card else path.name, "weights": note}
    write_description(job.out, parameters=parameters, report={}, **facts)


def _absolute(name: str) -> str:
    """A local path made independent of the folder the run was started in; a card's name as it is."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() and name not in CARDS else name


def _check_decoder(model: VelocityModel, autoencoder: str) -> None:
    """Decode one latent, so that an autoencoder of other latents is told before any work.

    Raises:
        UserError: the autoencoder does not take the network's latents.
    """
    try:
        with torch.no_grad():
            model.decode(torch.zeros(1, *model.latent_shape))
    except RuntimeError as error:
        raise UserError(
            f"autoencoder {autoencoder} cannot decode latents of shape {model.latent_shape}: {error}; "
            "give the one that the backbone was trained on"
        ) from error


def _train(job: Job) -> None:
    spec: dict[str, Any] = job.settings["backbone"]
    data = read_dataset(job.settings["data"])
    seed = job.settings["seed"]
    images, labels = to_float(data.train_images), torch.from_numpy(data.train_labels)
    with seeded(seed_of("base", "weights", seed)):
        net = backbones.create(spec["size"] or spec["family"], **spec["architecture"])
    assert isinstance(net, Backbone)
    autoencoder, latent_log = _latent(job, images) if spec["latent"] else (None, TrainingLog())
    model = backbones.wrap(net, autoencoder).to(job.device)
    images, labels = images.to(job.device), labels.to(job.device)
    # A latent of its own is trained first, and counts as half.
    told = (lambda done: job.progress((1 + done) / 2)) if spec["latent"] else job.progress
    tokens = None
    with torch.no_grad():
        latents = model.encode(images)
        if spec["align"]:
            tokens = _token_encoder(job, spec["align"]).to(job.device).tokens(images)
    log = pretrain(
        model, latents, labels, spec["pretrain"], seed_of("base", "training", seed), tokens, told, job.partial
    )
    log.summary |= latent_log.summary
    config = {
        "family": spec["size"] or spec["family"],
        "architecture": spec["architecture"],
        "autoencoder": AUTOENCODER if spec["latent"] else "pixels",
    }
    save_model(job.out, model, config)
    write_curve(job.out, log)
    write_description(job.out, parameters=sum(p.numel() for p in model.net.parameters()), report=log.summary)


def _latent(job: Job, images: torch.Tensor) -> tuple[SmallRAE, TrainingLog]:
    """The autoencoder of an RAE-style model, fitted; it is kept beside the model with its encoder."""
    spec = dict(job.settings["backbone"]["latent"])
    name, seed = spec.pop("encoder"), spec.pop("seed")
    settings = parse_settings(LatentSettings, spec, "latent")
    encoder = _token_encoder(job, name)
    with torch.no_grad():
        tokens = encoder.tokens(images[:1])
    with seeded(seed_of("latent", seed)) as generator:
        shape = (images.shape[1], images.shape[2], images.shape[3])
        autoencoder = SmallRAE(encoder, settings, shape, (tokens.shape[1], tokens.shape[2]))
        log = autoencoder.fit(images, generator, lambda done: job.progress(done / 2))
    save_small_rae(job.out, autoencoder, job.inputs[f"encoder:{name}"])
    return autoencoder, log


def _token_encoder(job: Job, name: str) -> Encoder:
    """An input encoder that has spatial features.

    Raises:
        UserError: it has none.
    """
    encoder = load_encoders(job.inputs)[name]
    if not encoder.spatial:
        raise UserError(f"encoder {name!r} has no spatial features (`tokens`); small-dae has")
    return encoder


def cost(of: Stage) -> Work:
    """The training of what is trained here; a checkpoint is read once."""
    if "model" in of.settings:
        return of.kept()
    s, images = of.settings["backbone"]["pretrain"], of.counts[0]
    work = of.reading(images) + of.encoding(images) + of.pretraining(s).times(s["steps"])
    if (latent := of.settings["backbone"]["latent"]) is not None:
        work += of.decoder_training(latent["batch"]).times(latent["steps"]) + of.encoding(images)
    return work + of.kept(disk=of.own_bytes())
