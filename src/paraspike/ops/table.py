"""Which implementation of which operator each backend has."""

# Of what synapses multiply on backend cuda; float32 unless another is asked for.
PRECISIONS = ("float32", "tf32x3", "tf32", "bf16")
# operator -> backend -> (module, function, what it is)
TABLE = {
    "lif": {
        "reference": ("lif.reference", "lif", "loop over time, autograd"),
        "cpu": ("lif.cpu", "lif", "compiled scan"),
        "cuda": (
            "lif.cuda",
            "lif",
            "Triton, all time steps fused; recurrent in one launch, or a CUDA graph of steps",
        ),
    },
    "integrate": {
        "reference": ("integrate.reference", "sequential", "loop over time, autograd"),
        "cpu": ("integrate.cpu", "integrate", "compiled scan"),
        "cuda": (
            "integrate.cuda",
            "integrate",
            "Triton, float32: segments of time side by side, or one pass where neurons are many",
        ),
    },
    "spsn": {
        "reference": ("spsn.reference", "spike", "torch"),
        "cpu": ("spsn.reference", "spike", "torch"),
        "cuda": ("spsn.cuda", "spike", "Triton, float32: one kernel each way"),
    },
    "synapse": {
        "reference": ("synapse.reference", "synapse", "matrix product"),
        "cpu": (
            "synapse.cpu",
            "synapse",
            "sum of the weight rows of spikes, register-blocked product where they are dense",
        ),
        "cuda": (
            "synapse.cuda",
            "synapse",
            "Triton: sum of the weight rows of spikes in lists; matrix product where they are dense",
        ),
    },
    "compact": {
        "reference": ("compact.reference", "compact", "sort by rank"),
        "cpu": ("compact.cpu", "compact", "compiled, from bits to bits"),
        "cuda": ("compact.reference", "compact", "sort by rank"),
        "ipu": ("compact.ipu", "compact", "pieces of 64 flags joined, simulated"),
    },
    "noise": {
        "reference": ("noise.reference", "noise", "Philox, compiled for the CPU"),
        "cpu": ("noise.reference", "noise", "Philox, compiled for the CPU"),
        "cuda": ("noise.cuda", "noise", "Philox in Triton, on the device"),
    },
    "integrate_and_fire": {
        "cpu": (
            "spsn.cpu",
            "integrate_and_fire",
            "integrate, noise and spsn in one compiled pass for float32 SB and GS at temperature 1, "
            "in turn for other forms",
        ),
        "cuda": (
            "spsn.cuda",
            "integrate_and_fire",
            "Triton, float32: integration, noise and spikes in one kernel for SB and GS, two for T and D",
        ),
    },
    "layer": {
        "cpu": (
            "layer.cpu",
            "layer",
            "synapse, delay, recurrence and LIF or leaky integrator in one compiled pass",
        ),
        "ipu": ("layer.ipu", "layer", "supersteps on tiles, simulated"),
    },
    "network": {
        "ipu": ("network.ipu", "network", "supersteps on tiles, all layers at once, simulated"),
    },
    "eprop": {
        "reference": ("eprop.reference", "gradients", "eligibility traces online, loop over time"),
        "cpu": (
            "eprop.cpu",
            "gradients",
            "one reverse scan per neuron, weight gradient into the rows of spikes",
        ),
        "cuda": (
            "eprop.cuda",
            "gradients",
            "Triton: one reverse scan per neuron; weight gradient as the synapse's",
        ),
    },
    "stateful": {
        "reference": ("stateful.reference", "stateful", "loop over time"),
        "cpu": ("stateful.cpu", "stateful", "compiled walk, state kept between calls"),
        "cuda": (
            "stateful.cuda",
            "stateful",
            "Triton: all steps in one kernel, state kept between calls",
        ),
    },
    "traces": {
        "reference": ("traces.reference", "traces", "loop over time, all synapses at each step"),
        "cpu": (
            "traces.cpu",
            "traces",
            "compiled, synapses in registers; or a block of steps by three products",
        ),
        "cuda": ("traces.cuda", "traces", "Triton: synapses in registers over all steps of a call"),
    },
    "loss": {
        "cuda": (
            "loss.cuda",
            "losses",
            "Triton: sum over time and cross entropy, all seeds at once",
        ),
    },
    "eventprop": {
        "reference": ("eventprop.reference", "eventprop", "event by event, a sample at a time"),
        "cpu": ("eventprop.cpu", "eventprop", "compiled, samples shared out among the threads"),
    },
    "stdp": {
        "reference": ("stdp.reference", "stdp", "loop over time"),
        "cpu": (
            "stdp.cpu",
            "stdp",
            "strips of columns, whole batch and all steps in one compiled pass",
        ),
        "cuda": ("stdp.cuda", "stdp", "Triton: blocks of columns, whole batch and all steps"),
    },
}
