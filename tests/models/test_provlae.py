"""pro-VLAE: growing a level changes nothing at first, dormant levels are silent."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pbt_disent.errors import UserError
from pbt_disent.models import Objective
from pbt_disent.models.contract import Batch, LossTerms
from pbt_disent.models.gaussian_vae import kl_per_latent
from pbt_disent.models.objectives.betavae import BetaVAE
from pbt_disent.models.objectives.provlae import ProVLAE
from pbt_disent.training.loop import step_once
from tests.objectives import options_of

Make = Callable[..., Objective]
LADDER = {"latents": 6, "levels": 3, "stage_steps": 100, "fade_in": 40}


@pytest.fixture
def ladder(make: Make) -> ProVLAE:
    objective = make("provlae", **LADDER)
    assert isinstance(objective, ProVLAE)
    return objective


def part_of(objective: Objective, images: Tensor, step: int) -> LossTerms:
    return objective.losses(Batch(images), step, torch.Generator().manual_seed(2))["model"]


def test_the_schedule(ladder: ProVLAE, make: Make) -> None:
    assert ladder.schedule(0) == (0, [1, 0, 0])
    assert ladder.schedule(99) == (0, [1, 0, 0])
    assert ladder.schedule(100) == (1, [1, 0, 0])
    assert ladder.schedule(110) == (1, [1, 0.25, 0])
    assert ladder.schedule(150) == (1, [1, 1, 0])
    assert ladder.schedule(220) == (2, [1, 1, 0.5])
    assert ladder.schedule(10_000) == (2, [1, 1, 1])
    at_once = make("provlae", **{**LADDER, "fade_in": 0})
    assert isinstance(at_once, ProVLAE)
    assert at_once.schedule(100) == (1, [1, 1, 0])
    whole = make("provlae", **LADDER, progressive=False)
    assert isinstance(whole, ProVLAE)
    assert whole.schedule(0) == (2, [1, 1, 1])


@pytest.mark.parametrize("switch", [100, 200])
def test_a_new_level_changes_nothing_at_first(ladder: ProVLAE, images: Tensor, switch: int) -> None:
    """The images and the codes of the older levels, bit for bit."""
    seen = []
    for step in (switch - 1, switch, switch + 20):
        stage, gates = ladder.schedule(step)
        mean, log_sigma = ladder.encoder(images, [gate if i <= stage else 1.0 for i, gate in enumerate(gates)])
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
        older = 2 * (switch // 100)
        seen.append((mean[:, :older], log_sigma[:, :older], ladder.decoder(mean + log_sigma.exp() * noise, gates)))
        assert part_of(ladder, images, step).terms["stage"].item() == stage
    assert all(torch.equal(a, b) for a, b in zip(seen[0], seen[1], strict=True))
    assert not torch.equal(seen[1][2], seen[2][2])
    losses = [part_of(ladder, images, step).terms["reconstruction"].item() for step in (switch - 1, switch)]
    assert losses[0] == losses[1]


def test_dormant_levels_are_silent(ladder: ProVLAE) -> None:
    z = torch.randn(2, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(ladder.decoder(z, [1.0, 0.0, 0.0]).sum(), z)
    assert gradient[:, :2].abs().min() > 0
    assert (gradient[:, 2:] == 0).all()


def test_the_gate_of_a_level_multiplies_what_its_head_sees(ladder: ProVLAE, images: Tensor) -> None:
    mean, log_sigma = ladder.encoder(images, [1.0, 0.25, 1.0])
    hidden = ladder.encoder.trunk[1](ladder.encoder.trunk[0](images))
    expected = ladder.encoder.heads[1](0.25 * hidden)
    torch.testing.assert_close(torch.cat([mean[:, 2:4], log_sigma[:, 2:4]], 1), expected)
    whole, _ = ladder.encoder(images, [1.0] * 3)
    assert torch.equal(whole[:, :2], mean[:, :2])
    assert not torch.allclose(whole[:, 2:4], mean[:, 2:4])


@pytest.mark.parametrize("gamma", [0, 0.5])
def test_dormant_heads_learn_from_gamma_alone(make: Make, images: Tensor, gamma: float) -> None:
    objective = make("provlae", **LADDER, gamma=gamma)
    assert isinstance(objective, ProVLAE)
    part_of(objective, images, 0).loss.backward()
    shallow = [p.grad for p in objective.encoder.heads[0].parameters()]
    silent = all(g is None or not g.any() for g in shallow)
    assert silent == (gamma == 0)
    assert any(p.grad is not None and p.grad.any() for p in objective.encoder.heads[2].parameters())


def test_the_whole_ladder_weighs_every_kl_alike(make: Make, images: Tensor) -> None:
    grown, whole = make("provlae", **LADDER), make("provlae", **LADDER, progressive=False)
    parts = part_of(grown, images, 10_000), part_of(whole, images, 0)
    assert parts[0].loss.item() == parts[1].loss.item()
    assert parts[0].terms["dormant_kl"].item() == 0
    assert isinstance(whole, ProVLAE)
    mean, log_sigma = whole.encoder(images, [1.0] * 3)
    kl = kl_per_latent(mean, log_sigma).sum(1).mean()
    expected = parts[1].terms["reconstruction"] + 4 * kl
    assert parts[1].loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_one_level_is_a_betavae(make: Make, images: Tensor) -> None:
    """With the ladder's networks, whose gates are open at every step."""
    ladder, plain = make("provlae", latents=4, levels=1, beta=3), make("betavae", latents=4, beta=3)
    assert isinstance(ladder, ProVLAE)
    assert isinstance(plain, BetaVAE)

    class Encoder(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.cat(ladder.encoder(images, [1.0]), 1)

    class Decoder(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            logits: Tensor = ladder.decoder(z, [1.0])
            return logits

    plain.encoder, plain.decoder = Encoder(), Decoder()
    for step in (0, 7, 100_000):
        one, other = part_of(ladder, images, step), part_of(plain, images, step)
        torch.testing.assert_close(one.loss, other.loss)
        torch.testing.assert_close(one.terms["elbo"], other.terms["elbo"])


def test_growing_keeps_parameters_and_what_the_optimiser_knows(make: Make, images: Tensor) -> None:
    """Dormant levels stay within 0.05 nats of the prior, and Adam's moments go on through both switches."""
    objective = make("provlae", **{**LADDER, "stage_steps": 15, "fade_in": 5}, lr=4e-3)
    assert isinstance(objective, ProVLAE)
    optimizers = objective.optimizers()
    shapes = {name: p.shape for name, p in objective.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    for step in range(45):
        switches = step in (15, 30)
        moments = {name: optimizers["model"].state[p]["exp_avg"].clone() for name, p in _tracked(objective, step)}
        part = step_once(objective, optimizers, Batch(images), step, generator)["model"]
        if switches:
            assert moments
            assert all(moment.any() for name, moment in moments.items() if name.startswith("encoder"))
        if step in (14, 29):
            assert part.terms["dormant_kl"].item() < 0.05
        assert {name: p.shape for name, p in objective.named_parameters()} == shapes
        steps = {float(optimizers["model"].state[p]["step"]) for p in objective.parameters()}
        assert steps == {step + 1}
    assert int(objective.stage) == 2


def _tracked(objective: Objective, step: int) -> list[tuple[str, nn.Parameter]]:
    return list(objective.named_parameters()) if step else []


def test_loss_of_a_middle_stage_by_hand(ladder: ProVLAE, images: Tensor) -> None:
    part = part_of(ladder, images, 160)
    mean, log_sigma = ladder.encoder(images, [1.0] * 3)
    kl = kl_per_latent(mean, log_sigma).mean(0)
    expected = part.terms["reconstruction"] + 4 * kl[:4].sum() + 0.5 * kl[4:].sum()
    assert part.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert part.terms["stage"].item() == 1


def test_decoding_uses_the_levels_reached(ladder: ProVLAE, images: Tensor) -> None:
    codes = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    changed = codes.clone()
    changed[:, 4:] += 1
    part_of(ladder, images, 150)
    assert torch.equal(ladder.decode(codes), ladder.decode(changed))
    part_of(ladder, images, 250)
    assert not torch.equal(ladder.decode(codes), ladder.decode(changed))


def test_levels_must_fit() -> None:
    with pytest.raises(UserError, match="levels=5: images of 1x32x32 have room for 4"):
        options_of("provlae", (1, 32, 32), latents=5, levels=5)
    with pytest.raises(UserError, match="latents=10: must be a multiple"):
        options_of("provlae", (1, 64, 64), latents=10, levels=3)
    assert options_of("provlae", (3, 64, 64)).network.width == 32


PLATEAU = {**LADDER, "growth": "plateau", "plateau_window": 5, "plateau_gain": 0.01, "fade_in": 5, "stage_steps": 1000}


def watched(ladder: ProVLAE, losses: list[float]) -> list[int]:
    """Show the ladder these losses, and return the stage after each."""
    stages = []
    for step, loss in enumerate(losses):
        ladder._watch(torch.tensor(loss), step)
        stages.append(int(ladder.stage))
    return stages


def test_a_plateau_ends_a_stage(make: Make) -> None:
    ladder = make("provlae", **PLATEAU)
    assert isinstance(ladder, ProVLAE)
    falling = [10.0] * 5 + [8.0] * 5 + [6.0] * 5
    flat = [5.99] * 5
    assert watched(ladder, falling + flat) == [0] * 19 + [1]
    assert int(ladder.began) == 20
    assert ladder.schedule(20) == (1, [1, 0, 0])
    assert ladder.schedule(25) == (1, [1, 1, 0])


def test_the_window_of_the_fade_in_does_not_count(make: Make) -> None:
    ladder = make("provlae", **PLATEAU)
    assert isinstance(ladder, ProVLAE)
    ladder.stage.fill_(1)
    assert watched(ladder, [5.0] * 5 + [9.0] * 5 + [8.95] * 5) == [1] * 14 + [2]
    assert watched(ladder, [1.0] * 50) == [2] * 50


def test_a_stage_ends_at_its_last_step_at_the_latest(make: Make, images: Tensor) -> None:
    ladder = make("provlae", **{**PLATEAU, "stage_steps": 10})
    assert isinstance(ladder, ProVLAE)
    for step in range(10):
        assert part_of(ladder, images, step).terms["stage"].item() == 0
    assert part_of(ladder, images, 10).terms["stage"].item() == 1


def test_growth_goes_on_from_a_checkpoint(make: Make, images: Tensor) -> None:
    first, second = make("provlae", **PLATEAU), make("provlae", **PLATEAU)
    assert isinstance(first, ProVLAE)
    assert isinstance(second, ProVLAE)
    watched(first, [5.0] * 13)
    second.load_state_dict(first.state_dict())
    for objective in (first, second):
        for step in range(13, 16):
            objective._watch(torch.tensor(5.0), step)
    assert int(first.stage) == int(second.stage) == 1
    assert torch.equal(first.window, second.window)
