"""What was measured on another device (data/measured/<device>/<paper>.nc), drawn beside the reader's own."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.figure import Figure

from paraspike import plots
from paraspike.netcdf import Elsewhere


def beside(
    draw: Callable[[xr.DataTree], Figure], results: xr.DataTree, others: Sequence[Elsewhere]
) -> Figure:
    """The figure of the reader's own results and, below it, the same figure of every other device.

    Args:
        draw: makes the figure of one paper's DataTree with `plots.figure` and `plots.need`.
        others: those that lack what is drawn are left out.

    Raises:
        ReaderError: the reader's own results lack what is drawn.
    """
    own = draw(results)
    rows = [("this machine", "", results, own.get_size_inches())]
    for device, file, tree in others:
        with suppress(plots.NotMeasuredError):
            fig = draw(tree)
            plt.close(fig)
            rows.append((device, file, tree, fig.get_size_inches()))
    if len(rows) == 1:
        return own
    plt.close(own)
    widths, heights = zip(*(size for *_, size in rows), strict=True)
    whole = plt.figure(figsize=(max(widths), sum(heights) + 0.3 * len(rows)), layout="constrained")
    parts = whole.subfigures(len(rows), 1, height_ratios=heights, squeeze=False).flat
    for part, (device, file, tree, _) in zip(parts, rows, strict=True):
        with plots.inside(part):
            draw(tree)
        plots.headline(part, f"{part.get_suptitle()}\non {device}")
        if file:
            plots.footnote(part, f"{file}: {part.get_supxlabel()}")
    return whole
