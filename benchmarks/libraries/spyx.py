"""Spyx: LIF in a jax.lax.scan, the whole training step jitted."""

import numpy as np

from benchmarks.workloads import BETA, GAIN, LEARNING_RATE, SLOPE, THRESHOLD

PACKAGES = ("spyx", "jax")
DIFFERS = (
    "spikes come from the potential before the step's input, one step later in each layer, and "
    "the threshold is subtracted after the decay; the reset takes part in the gradient"
)


def modes(workload):
    return ("scan, jitted step",) if workload.kind in ("train", "infer") else ()


class _Runner:
    def __init__(self, workload, data):
        import jax
        import jax.numpy as jnp
        import optax
        from flax import nnx
        from spyx import axn, nn

        rngs, options = nnx.Rngs(0), {"beta": BETA, "threshold": THRESHOLD}
        options["activation"] = axn.superspike(SLOPE)
        layers = []
        for i, w in enumerate(data.weights):
            recurrent = workload.recurrent and i == 0
            neuron = nn.RLIF if recurrent else nn.LIF
            layers.append(nnx.Linear(*w.shape, use_bias=False, rngs=rngs))
            layers.append(neuron((w.shape[1],), rngs=rngs, **options))
            layers[-2].kernel[...] = jnp.asarray(w)
            if recurrent:
                layers[-1].recurrent_w[...] = jnp.asarray(data.recurrent)
        model = nn.Sequential(*layers)
        graph, self.initial, rest = nnx.split(
            model, lambda path, _: path[-1] in ("kernel", "recurrent_w"), ...
        )
        inputs, labels = jnp.asarray(data.inputs, jnp.float32), jnp.asarray(data.labels)
        adam = optax.adam(LEARNING_RATE)

        def totals(weights, x):
            return nn.run(nnx.merge(graph, weights, rest), x)[0].sum(0)

        def loss(weights, x):
            logits = totals(weights, x) * (GAIN / x.shape[0])
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        @jax.jit
        def train(weights, state, x):
            value, gradients = jax.value_and_grad(loss)(weights, x)
            updates, state = adam.update(gradients, state)
            return optax.apply_updates(weights, updates), state, value, gradients

        self.jax, self.nnx, self.kind = jax, nnx, workload.kind
        self.inputs, self.graph, self.rest = inputs, graph, rest
        self.train, self.infer = train, jax.jit(totals)
        self.weights, self.state = self.initial, adam.init(self.initial)

    def restore(self):
        self.weights = self.initial

    def step(self):
        if self.kind == "infer":
            self.jax.block_until_ready(self.infer(self.weights, self.inputs))
            return
        done = self.train(self.weights, self.state, self.inputs)
        self.weights, self.state = self.jax.block_until_ready(done)[:2]

    def outputs(self):
        """Hidden layers' spikes come from running the network cut off after each of them."""
        from spyx import nn

        model = self.nnx.merge(self.graph, self.initial, self.rest)
        found = {}
        for depth in range(1, len(model.layers) // 2 + 1):
            part = nn.Sequential(*model.layers[: 2 * depth])
            totals = self.jax.jit(lambda x, part=part: nn.run(part, x)[0].sum(0))(self.inputs)
            found[f"spikes{depth}"] = np.asarray(totals)
        if self.kind == "train":
            _, _, value, gradients = self.train(self.initial, self.state, self.inputs)
            found["loss"] = np.asarray(value)
            leaves = self.jax.tree_util.tree_leaves_with_path(gradients)
            kernels = [leaf for path, leaf in leaves if "kernel" in str(path)]
            others = [leaf for path, leaf in leaves if "kernel" not in str(path)]
            for i, gradient in enumerate([*kernels, *others], 1):
                found[f"gradient{i}"] = np.asarray(gradient)
        return found


def build(workload, mode, data):
    return _Runner(workload, data)
