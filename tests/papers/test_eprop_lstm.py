"""The LSTM baseline: its input by hand, its step against the equations, and that it learns."""

import dataclasses

import numpy as np
import pytest
import torch

from paraspike.datasets import load_images
from paraspike.errors import ReaderError
from paraspike.papers.eprop_lstm import LSTM, accuracy, pixels, train_lstm


@pytest.fixture(scope="module")
def digits():
    return load_images("digits", "train", samples=200)


def test_pixels_are_block_means_in_raster_order(digits):
    x = pixels(digits, 14)
    assert x.shape == (196, 200, 1) and x.dtype == torch.float32
    assert x.min() >= 0 and x.max() <= 1
    image = digits.images[7].astype(float)
    assert x[14 * 3 + 5, 7, 0] == pytest.approx(image[6:8, 10:12].mean() / 255)
    np.testing.assert_allclose(pixels(digits, 28)[:, 7, 0], image.ravel() / 255, rtol=1e-6)


def test_a_side_that_does_not_divide_is_refused(digits):
    for side in (0, 15):
        with pytest.raises(ReaderError, match="cannot be averaged"):
            pixels(digits, side)


def test_the_cell_is_the_published_one():
    lstm = LSTM(seed=1, side=3, hidden=5, classes=4)
    w = {name: a.astype(np.float64) for name, a in lstm.weights().items()}
    x = torch.rand(9, 2, 1, generator=torch.Generator().manual_seed(0))
    h = c = np.zeros((2, 5))
    for x_t in x.numpy():
        gates = x_t @ w["cell.weight_ih_l0"].T + h @ w["cell.weight_hh_l0"].T
        i, f, g, o = np.split(gates + w["cell.bias_ih_l0"], 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
    logits = h @ w["readout.weight"].T + w["readout.bias"]
    np.testing.assert_allclose(lstm(x).detach(), logits, rtol=1e-4, atol=1e-6)


def test_gates_start_open_for_all_spans():
    lstm = LSTM(seed=0)
    assert lstm.cell.hidden_size == 128 and not lstm.cell.bias_hh_l0.any()
    entry, forget = lstm.cell.bias_ih_l0[:128], lstm.cell.bias_ih_l0[128:256]
    torch.testing.assert_close(entry, -forget)
    assert forget.min() >= 0 and forget.max() <= np.log(195)
    # 4 x 128 x (1 + 128 + 1) of the cell, 10 x (128 + 1) of the readout.
    trained = sum(p.numel() for p in lstm.parameters() if p.requires_grad)
    assert trained == 67850


def test_it_learns():
    """Three classes at 7 x 7; the defaults give over 90 % on all of digits within 20 s."""

    def three(split):
        data = load_images("digits", split)
        return dataclasses.replace(data.subset(np.flatnonzero(data.labels < 3)), n_classes=3)

    lstm = train_lstm(three("train"), seed=0, epochs=25, side=7, hidden=32)
    assert accuracy(lstm, three("train")) > 90 and accuracy(lstm, three("test")) > 90


def test_a_seed_gives_the_same_bits_and_leaves_torchs_numbers_alone(digits):
    few = digits.subset(np.arange(24))
    before = torch.random.get_rng_state()
    runs = [train_lstm(few, seed, epochs=1, side=7, hidden=8).weights() for seed in (3, 3, 4)]
    assert torch.equal(before, torch.random.get_rng_state())
    for name in runs[0]:
        np.testing.assert_array_equal(runs[0][name], runs[1][name])
    assert any((runs[0][name] != runs[2][name]).any() for name in runs[0])
    assert not runs[0]["cell.bias_hh_l0"].any()


def test_weights_travel_as_arrays(digits, tmp_path):
    lstm = LSTM(seed=5, side=7, hidden=8)
    np.savez(tmp_path / "weights.npz", **lstm.weights())
    with np.load(tmp_path / "weights.npz") as arrays:
        back = LSTM.from_weights(arrays)
    x = pixels(digits, 7)[:, :5]
    assert torch.equal(lstm(x), back(x)) and back.side == 7
    assert accuracy(lstm, digits, batch_size=64) == accuracy(back, digits)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w: w.pop("side"),
        lambda w: w.pop("cell.weight_ih_l0"),
        lambda w: w.update({"cell.weight_hh_l0": np.zeros((3, 3))}),
        lambda w: w.update({"readout.weight": np.zeros(3)}),
    ],
)
def test_weights_of_something_else_are_refused(spoil):
    weights = LSTM(seed=0, side=7, hidden=8).weights()
    spoil(weights)
    with pytest.raises(ReaderError, match="not an LSTM's weights"):
        LSTM.from_weights(weights)
