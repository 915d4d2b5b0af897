"""What the tests of SpikePipe's drawings share: are they legible?"""

import numpy as np
from matplotlib.text import Text


def texts(fig):
    """All texts that are to be seen; ticks beyond the axes' limits are not."""
    hidden = set()
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        beyond = (t for t in axis.get_major_ticks() if not low <= t.get_loc() <= high)
        hidden |= {label for tick in beyond for label in (tick.label1, tick.label2)}
    found = fig.findobj(Text)
    return [t for t in found if t.get_visible() and t.get_text().strip() and t not in hidden]


def words(fig):
    """What all texts of a figure say."""
    return [text.get_text() for text in texts(fig)]


def legible(*figures):
    """Every axes shows something, no two texts overlap and none leaves its figure."""
    for fig in figures:
        fig.draw_without_rendering()
        assert fig.get_suptitle()
        for ax in fig.axes:
            assert ax.lines or ax.patches or ax.collections or ax.images
        inside = texts(fig)
        boxes = np.array([t.get_window_extent().extents for t in inside])
        assert (boxes[:, :2] >= -1).all()
        assert (boxes[:, 2:] <= np.array(fig.bbox.size) + 1).all()
        low, high = boxes[:, None, :2] + 1, boxes[None, :, 2:] - 1
        meet = (low < high).all(-1)
        meet &= meet.T
        np.fill_diagonal(meet, False)
        clash = [(inside[i].get_text(), inside[j].get_text()) for i, j in np.argwhere(meet)]
        assert not clash, clash
