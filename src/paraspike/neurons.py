"""What a neuron is: frozen dataclasses with their equations; how it is computed lies in ops/."""

import math
from dataclasses import dataclass, field

from paraspike.errors import ReaderError


def decay(dt: float, tau: float) -> float:
    """exp(-dt / tau): the factor a leaky state keeps over one step; 0 for tau = 0 (seconds)."""
    if not (dt > 0 and tau >= 0 and math.isfinite(dt)):
        raise ReaderError(
            f"dt = {dt} s and tau = {tau} s make no decay", "decay", "both in seconds"
        )
    return math.exp(-dt / tau) if tau > 0 else 0.0


def _choice(owner, **given):
    for name, (value, allowed) in given.items():
        if value not in allowed:
            raise ReaderError(
                f"{owner}.{name} = {value!r} is unknown", owner, f"one of {', '.join(allowed)}"
            )


@dataclass(frozen=True)
class Surrogate:
    """Stand-in for the derivative of the spike with respect to the potential v = u - threshold.

    fast_sigmoid: 1 / (slope |v| + 1)^2 (Zenke & Ganguli 2018); sigmoid: slope s (1 - s) with
    s = sigmoid(slope v); triangle: max(0, 1 - slope |v|); arctan: 1 / (1 + (pi/2 slope v)^2);
    boxcar: 1 where slope |v| < 1/2. All but sigmoid are scaled by `height`. Outside of
    -min(band, below) < v < band it is zero, which drops what such neurons would learn; the layers before
    and after save that work. `band` alone is the two-sided band of Perez-Nieves & Goodman 2021 ("Sparse
    spiking gradient descent"), `below` alone the second threshold, `below` under the first, of Finkbeiner &
    Neftci 2022.
    """

    shape: str = "fast_sigmoid"
    slope: float = 100.0
    height: float = 1.0
    band: float = math.inf
    below: float = math.inf

    SHAPES = ("fast_sigmoid", "sigmoid", "triangle", "arctan", "boxcar")

    def __post_init__(self):
        _choice("Surrogate", shape=(self.shape, self.SHAPES))
        for name in ("band", "below"):
            if not getattr(self, name) >= 0:
                raise ReaderError(f"{name} {getattr(self, name)} is not a distance", "Surrogate")

    @property
    def window(self) -> tuple[float, float]:
        """(low, high): `band` and `below` make it zero outside of low < v < high."""
        return -min(self.band, self.below), self.band

    @property
    def reach(self) -> tuple[float, float]:
        """The window, narrowed by the shape's own end."""
        own = {"triangle": 1.0, "boxcar": 0.5}.get(self.shape, math.inf)
        own = own / abs(self.slope) if self.slope else math.inf
        low, high = self.window
        return max(low, -own), min(high, own)


@dataclass(frozen=True)
class LIF:
    """The one leaky integrate-and-fire neuron in normal form; per step, for every neuron:

        i <- a_ii i + x
        u <- a_uu u + a_ui i + c0 x + c1 x_prev
        s  = 1 where u > threshold + beta a   (>= if not strict)
        a <- rho a + s

    reset: none, zero (u <- 0) or subtract (u <- u - threshold), at the spike or at the next_step.
    At the next step a reset to zero takes the old potential only, or with `gate_input` that step's
    whole potential, input included. refractory: block_spike or clamp_input for `refractory_steps`
    steps after a spike. reset_grad: through (the reset is invisible to the gradient), masked
    (spike detached inside the reset) or full. The surrogate is taken at the potential before (pre) or
    after (post) the reset. Potentials and threshold share one unit; states start at zero.
    """

    a_ii: float = 0.0
    a_uu: float = 0.9
    a_ui: float = 1.0
    c0: float = 0.0
    c1: float = 0.0
    threshold: float = 1.0
    strict: bool = True
    beta: float = 0.0
    rho: float = 0.0
    reset: str = "zero"
    reset_at: str = "spike"
    gate_input: bool = False
    refractory: str = "none"
    refractory_steps: int = 0
    reset_grad: str = "masked"
    surrogate: Surrogate = field(default_factory=Surrogate)
    surrogate_at: str = "pre"

    fires = True

    def __post_init__(self):
        _choice(
            "LIF",
            reset=(self.reset, ("none", "zero", "subtract")),
            reset_at=(self.reset_at, ("spike", "next_step")),
            refractory=(self.refractory, ("none", "block_spike", "clamp_input")),
            reset_grad=(self.reset_grad, ("through", "masked", "full")),
            surrogate_at=(self.surrogate_at, ("pre", "post")),
        )

    @property
    def adaptive(self) -> bool:
        return self.beta != 0.0


def cuba(dt: float, tau_syn: float, tau_mem: float, threshold: float = 1.0, **options) -> LIF:
    """Current-based LIF with unit gain: a_ii = exp(-dt/tau_syn), a_uu = exp(-dt/tau_mem) = beta,
    a_ui = 1 - beta (SPSN paper, equations 5 and 6 without their reset). Times in seconds."""
    beta = decay(dt, tau_mem)
    return LIF(a_ii=decay(dt, tau_syn), a_uu=beta, a_ui=1.0 - beta, threshold=threshold, **options)


@dataclass(frozen=True)
class LeakyIntegrator:
    """i <- a_ii i + x;  u <- a_uu u + a_ui i (SPSN paper, equations 5 and 7). Does not fire."""

    a_ii: float
    a_uu: float
    a_ui: float

    fires = False

    @classmethod
    def from_times(cls, dt: float, tau_syn: float, tau_mem: float) -> "LeakyIntegrator":
        """Unit-gain integrator with time constants in seconds."""
        beta = decay(dt, tau_mem)
        return cls(decay(dt, tau_syn), beta, 1.0 - beta)


@dataclass(frozen=True)
class SPSN:
    """Stochastic parallelizable spiking neuron: a leaky integrator, then a spike function without
    reset, independent at each step (SPSN paper, section III-B; ParaLIF for the last two).

    spike: SB   s ~ Bernoulli(rho), rho = sigmoid(slope u); ds/du = rho * slope rho (1 - rho)  (eq 17-19)
           GS   s = [y > 1/2], y = sigmoid((2 u + L) / temperature), L logistic noise (the difference
                of two Gumbel draws); ds/du = 2 y (1 - y) / temperature
           T    s = [u > threshold];  D  s = [u - u_prev > threshold], both with `surrogate`
    """

    integrator: LeakyIntegrator
    spike: str = "SB"
    slope: float = 1.0
    temperature: float = 1.0
    threshold: float = 1.0
    surrogate: Surrogate = field(default_factory=Surrogate)

    fires = True

    def __post_init__(self):
        _choice("SPSN", spike=(self.spike, ("SB", "GS", "T", "D")))
        if not self.temperature > 0:
            raise ReaderError(f"temperature {self.temperature} is not positive", "SPSN")


@dataclass(frozen=True)
class ReLU:
    """y = max(0, x) at each step: real-valued activity without memory over time."""

    fires = False


@dataclass(frozen=True)
class Identity:
    """y = x at each step: the readout of a network that has no memory over time."""

    fires = False
