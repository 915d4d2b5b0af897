"""Whether STDP features are worth reading out: one linear readout on three kinds of features."""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from paraspike.datasets.encoders import bernoulli
from paraspike.learning.competition import Competition
from paraspike.randomness import permutation

FEATURES = ("untrained", "STDP", "pixels")


@dataclass(frozen=True)
class Found:
    """Test accuracy in percent of each of FEATURES; learned weights [neurons, 28, 28]."""

    accuracy: list[float]
    weights: np.ndarray


def compare(train, test, neurons, steps, epochs, batch, seed, backend) -> Found:
    """Train features on `train` without labels, then the same readout on each kind of features.

    Args:
        train, test: ImageData.  steps: time steps of 1 ms an image is shown.
    """
    layer = Competition(train.images[0].size, neurons, seed=seed, backend=backend)
    scores = [_score(*(features(layer, d, steps, seed, batch) for d in (train, test)), train, test)]
    for epoch in range(epochs):
        order = permutation(seed, f"competition/{epoch}", len(train))
        for chosen in np.array_split(order, -(-len(order) // batch)):
            stream = f"competition/{epoch}"
            layer.learn(bernoulli(train.images[chosen], chosen, steps, seed, stream))
    scores.append(
        _score(*(features(layer, d, steps, seed, batch) for d in (train, test)), train, test)
    )
    pixels = [d.images.reshape(len(d), -1).astype(float) for d in (train, test)]
    scores.append(_score(*pixels, train, test))
    return Found(scores, layer.weights.T.cpu().numpy().reshape(neurons, *train.images.shape[1:]))


def features(layer: Competition, data, steps: int, seed: int, batch: int) -> np.ndarray:
    """Spikes of each neuron for each image, [n, neurons]."""
    rows = []
    for chosen in np.array_split(np.arange(len(data)), -(-len(data) // (8 * batch))):
        shown = bernoulli(data.images[chosen], chosen, steps, seed, f"features/{data.split}")
        rows.append(layer.respond(shown).cpu().numpy())
    return np.concatenate(rows)


def _score(x, y, train, test) -> float:
    scaler = StandardScaler().fit(x)
    readout = LogisticRegression(C=0.1, max_iter=300)
    readout.fit(scaler.transform(x), train.labels)
    return 100 * float(readout.score(scaler.transform(y), test.labels))
