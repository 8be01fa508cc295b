"""The PyTorch baseline is the same model as ours."""

import pytest

torch = pytest.importorskip("torch")

from tools.benchmarks import pytorch_dvd_gan, versus_pytorch  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_it_has_the_parameters_of_our_model():
    with torch.device("meta"):  # nothing is allocated or drawn
        trainer = pytorch_dvd_gan.PlainTrainer(32, 64, 12, 101, 1)
    assert trainer.parameter_counts() == (21_055_579, 9_630_401, 10_149_953)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_a_step_moves_every_weight_of_every_network(bfloat16):
    trainer = pytorch_dvd_gan.PlainTrainer(4, 16, 9, 3, 2, bfloat16)
    parameters = {
        f"{network}/{name}": parameter
        for network in ("generator", "discriminators")
        for name, parameter in getattr(trainer, network).named_parameters()
    }
    before = {name: p.detach().clone() for name, p in parameters.items()}
    trainer.step()
    still = [n for n, p in parameters.items() if torch.equal(p, before[n])]
    # A head's bias has a gradient only where a score is beyond the hinge.
    assert all(name.endswith("linear.bias") for name in still), still
    assert all(torch.isfinite(p).all() for p in parameters.values())


def test_generator_updates_leave_discriminators_without_gradient():
    trainer = pytorch_dvd_gan.PlainTrainer(4, 16, 8, 3, 2)
    trainer._update_generator()
    assert all(p.grad is None for p in trainer.discriminators.parameters())
    assert all(p.requires_grad for p in trainer.discriminators.parameters())


def test_bfloat16_is_timed_only_where_the_processor_has_it():
    assert versus_pytorch.contestants(False) == ["PyTorch float32", "tf_dvdgan float32"]
    assert len(versus_pytorch.contestants(True)) == 4
