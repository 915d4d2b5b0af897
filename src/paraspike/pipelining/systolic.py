"""Cycles of a matrix product on a systolic array, by dataflow: SCALE-Sim 3's model. Modelled, not measured."""

import numpy as np

from paraspike.errors import ReaderError

# Output-, weight- and input-stationary: which matrix stays in the array while the others stream through.
DATAFLOWS = ("os", "ws", "is")


def gemm_cycles(dataflow: str, m, k, n, rows=32, columns=32):
    """Cycles of an [m, k] x [k, n] product on an array of `rows` x `columns` multipliers.

    The stationary matrix is cut into folds of the array's size, which run one after the other; nothing
    waits for memory (assumption A6). With ce the division rounded up:

        os: ce(m, rows) ce(n, columns) (rows + columns + k - 2)
        ws: ce(k, rows) ce(n, columns) (2 rows + columns + m - 2)
        is: ce(k, rows) ce(m, columns) (2 rows + columns + n - 2)

    Source: SCALE-Sim 3.0.0, length of the demand matrices of `systolic_compute_{os,ws,is}` (sheet, section
    5). The form 2 S_R + S_C + T - 2 of the ISPASS 2020 paper is its ws and is; its os has one S_R less.

    Args:
        dataflow: os, ws or is.  m, k, n, rows, columns: whole numbers from 1, or integer arrays of
            shapes that broadcast against each other.

    Returns:
        int for numbers; int64 array of the broadcast shape for arrays. Cycles.

    Raises:
        ReaderError: the dataflow is unknown, or a size is no whole number or below 1.
    """
    if dataflow not in DATAFLOWS:
        raise ReaderError(
            f"dataflow {dataflow!r} is unknown",
            "pipelining.gemm_cycles",
            f"one of {', '.join(DATAFLOWS)}",
        )
    named = {"m": m, "k": k, "n": n, "rows": rows, "columns": columns}
    sizes = {name: _size(name, size) for name, size in named.items()}
    try:
        np.broadcast_shapes(*(size.shape for size in sizes.values()))
    except ValueError as error:
        shapes = ", ".join(f"{name} {size.shape}" for name, size in sizes.items())
        raise ReaderError(
            f"sizes of shapes {shapes} do not broadcast", "pipelining.gemm_cycles"
        ) from error
    m, k, n, rows, columns = sizes.values()
    if dataflow == "os":
        cycles = _folds(m, rows) * _folds(n, columns) * (rows + columns + k - 2)
    elif dataflow == "ws":
        cycles = _folds(k, rows) * _folds(n, columns) * (2 * rows + columns + m - 2)
    else:
        cycles = _folds(k, rows) * _folds(m, columns) * (2 * rows + columns + n - 2)
    return cycles if cycles.ndim else int(cycles)


def gemm_utilisation(dataflow: str, m, k, n, rows=32, columns=32):
    """Share of multipliers at work over the product's cycles: m k n / (cycles rows columns), 0 to 1."""
    cycles = gemm_cycles(dataflow, m, k, n, rows, columns)
    done = np.asarray(m, float) * np.asarray(k, float) * np.asarray(n, float)
    share = done / (np.asarray(cycles, float) * np.asarray(rows) * np.asarray(columns))
    return share if share.ndim else float(share)


def gemm_streams(dataflow: str, m, k, n, rows=32, columns=32):
    """Numbers that cross the array's edge in an [m, k] x [k, n] product: left operand, right operand, result.

    An operand that streams is read again by every fold, a result that does not stay is written once for
    every fold along k (partial sums; their way back in is not counted, as in SCALE-Sim):

        os: m k ce(n, columns)    k n ce(m, rows)       m n
        ws: m k ce(n, columns)    k n                   m n ce(k, rows)
        is: m k                   k n ce(m, columns)    m n ce(k, rows)

    Args, errors: as `gemm_cycles`.

    Returns:
        Three ints, or three int64 arrays.
    """
    gemm_cycles(dataflow, m, k, n, rows, columns)  # checks them all
    m, k, n, rows, columns = (np.asarray(x, np.int64) for x in (m, k, n, rows, columns))
    left, right, result = m * k, k * n, m * n
    if dataflow != "is":
        left = left * _folds(n, columns)
    if dataflow == "os":
        right = right * _folds(m, rows)
    else:
        right = right * (_folds(m, columns) if dataflow == "is" else 1)
        result = result * _folds(k, rows)
    return tuple(x if x.ndim else int(x) for x in (left, right, result))


def _folds(size, array):
    return -(-size // array)


def _size(name, size):
    size = np.asarray(size)
    if not np.issubdtype(size.dtype, np.integer):
        raise ReaderError(
            f"{name} is no whole number: {size}", "pipelining.gemm_cycles", "sizes are integers"
        )
    if size.size and size.min() < 1:
        raise ReaderError(
            f"{name} is {size.min()}", "pipelining.gemm_cycles", "sizes are at least 1"
        )
    return size.astype(np.int64)
