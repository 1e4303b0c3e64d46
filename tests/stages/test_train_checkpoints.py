"""What is kept of a run is all that its steps change."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")


def network() -> torch.nn.Module:
    made = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    made[0].requires_grad_(False)
    return made


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.train()
    model(torch.randn(8, 3) * 5 + 2).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_the_best_weights_come_back_with_their_running_means(tmp_path: Path) -> None:
    from luodi.stages.train.checkpoints import load_weights, save_weights

    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.1)
    asked = torch.randn(5, 3)
    step(model, optimizer)
    before = model.eval()(asked).detach()
    save_weights(tmp_path / "best.safetensors", model)
    for _ in range(5):
        step(model, optimizer)
    assert not torch.allclose(model.eval()(asked), before)
    load_weights(tmp_path / "best.safetensors", model)
    torch.testing.assert_close(model.eval()(asked), before, rtol=0, atol=0)


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    from luodi.stages.train.checkpoints import Records, load_checkpoint, save_checkpoint

    torch.manual_seed(0)
    model, other = network(), network()
    other[0].load_state_dict(model[0].state_dict())  # what is frozen is the base's, and not kept
    optimizers = [torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], 0.1) for m in (model, other)]
    step(model, optimizers[0])
    save_checkpoint(tmp_path / "last.safetensors", model, optimizers[0], Records(step=1))
    step(model, optimizers[0])
    assert load_checkpoint(tmp_path / "last.safetensors", other, optimizers[1]).step == 1
    step(other, optimizers[1])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
