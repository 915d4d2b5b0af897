"""Whether STDP features are worth reading out: one linear readout on four kinds of features.

Besides the untrained layer, whose neurons all see much the same, a layer whose weights are training images
taken at random: what templates are worth without learning.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from paraspike.datasets.encoders import bernoulli
from paraspike.learning.competition import Competition
from paraspike.randomness import permutation

FEATURES = ("untrained", "STDP", "random images", "pixels")


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
    learned = layer.weights.clone()
    layer.load(train.images[permutation(seed, "competition/images", len(train))[:neurons]])
    scores.append(
        _score(*(features(layer, d, steps, seed, batch) for d in (train, test)), train, test)
    )
    pixels = [d.images.reshape(len(d), -1).astype(float) for d in (train, test)]
    scores.append(_score(*pixels, train, test))
    return Found(scores, learned.T.cpu().numpy().reshape(neurons, *train.images.shape[1:]))


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
