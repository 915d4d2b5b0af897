"""What signal-flow graphs and dataflow graphs are drawn with: nodes, wires, gains, delays."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import BoxStyle, Circle, FancyArrowPatch, FancyBboxPatch, Polygon
from matplotlib.path import Path

from paraspike import plots

# Okabe and Ito's vermillion for what a spike gates, blue for delays.
GATE, DELAY = "#D55E00", "#0072B2"
FACE = "#FFFFFF"
Point = tuple[float, float]


def canvas(width: Point, height: Point, inch: float = 0.7) -> tuple[Figure, Axes]:
    """A figure with one axes without frame, one unit as long in x as in y.

    Args:
        width, height: from and to of x and y.  inch: of a unit.
    """
    size = inch * (width[1] - width[0]) + 0.2, inch * (height[1] - height[0]) + 0.9
    fig, ax = plots.figure(size=(max(size[0], 7.0), size[1]))
    ax.set(xlim=width, ylim=height, aspect="equal", anchor="W")
    ax.axis("off")
    return fig, ax


def headline(fig: Figure, text: str, *notes: str) -> None:
    """Title above and notes below in grey, as `plots.title` has them, of what no data set was measured for."""
    fig.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold")
    fig.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=8, color=plots.PALE)


def wire(ax: Axes, points: Sequence[Point], ends: Point = (0, 0), ink=plots.INK, **look) -> None:
    """A broken line with an arrow head at its end; white edges where it crosses what was drawn before.

    Args:
        ends: how much is cut off at the first and at the last point, in units of the axes.
        look: of the arrow; `halo`, width of the white edges in points, 0 for none.
    """
    line = np.asarray(points, float)
    for end, inner, cut in ((0, 1, ends[0]), (-1, -2, ends[1])):
        way = line[inner] - line[end]
        line[end] += cut * way / np.hypot(*way)
    zorder, halo = look.pop("zorder", 2), look.pop("halo", 5)
    if halo:
        ax.plot(*line.T, color=FACE, lw=halo, solid_capstyle="butt", zorder=zorder)
    look = {"lw": 1.4, "arrowstyle": "-|>", "mutation_scale": 12, "joinstyle": "miter"} | look
    ax.add_patch(FancyArrowPatch(path=Path(line), fc="none", ec=ink, zorder=zorder, **look))
    if look["arrowstyle"] == "-|>":
        ax.patches[-1].set_facecolor(ink)
        ax.patches[-1].set_fill(True)


def dot(ax: Axes, at: Point, ink=plots.INK) -> None:
    """Where one wire becomes several."""
    ax.add_patch(Circle(at, 0.06, fc=ink, ec=ink, zorder=4))


def disc(ax: Axes, at: Point, text: str, radius: float = 0.24, ink=plots.INK, **look) -> None:
    """A node: a circle with text inside."""
    ax.add_patch(Circle(at, radius, **({"fc": FACE, "ec": ink, "lw": 1.4, "zorder": 4} | look)))
    ax.text(*at, text, ha="center", va="center_baseline", fontsize=10, zorder=5)


def box(ax: Axes, at: Point, text: str, size: Point = (0.8, 0.55), ink=plots.INK, **text_look):
    """A rectangle with text inside: a delay element, a comparator, a task."""
    corner = at[0] - size[0] / 2, at[1] - size[1] / 2
    style = BoxStyle("Round", pad=0, rounding_size=0.06)
    fc = text_look.pop("fc", FACE)
    ax.add_patch(FancyBboxPatch(corner, *size, boxstyle=style, fc=fc, ec=ink, lw=1.4, zorder=4))
    look = {"fontsize": 10, "color": ink, "ha": "center", "va": "center", "linespacing": 1.35}
    ax.text(*at, text, zorder=5, **(look | text_look))


def amplifier(ax: Axes, start: Point, end: Point, text: str) -> None:
    """A gain: a triangle in the middle of a piece of wire, pointing along it, its text beside it."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    along = (b - a) / np.hypot(*(b - a))
    across, middle = np.array([-along[1], along[0]]), (a + b) / 2
    corners = [middle - 0.3 * along + 0.34 * s * across for s in (1, -1)]
    tip = middle + 0.38 * along
    ax.add_patch(Polygon([*corners, tip], fc=FACE, ec=plots.INK, lw=1.4, zorder=4))
    flat = abs(along[0]) > abs(along[1])
    at = middle + ((0, 0.45) if flat else (0.45, 0))
    ha, va = ("center", "bottom") if flat else ("left", "center")
    ax.text(*at, text, ha=ha, va=va, fontsize=10)
