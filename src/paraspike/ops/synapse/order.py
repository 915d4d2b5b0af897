"""Whether index lists are what kernels may take for addresses."""

from paraspike.ops.jit import njit


@njit
def in_order(row_pointers, units, counts, n):
    """Whether row pointers never fall and every row's units rise within 0 .. n - 1, no count zero."""
    for r in range(len(row_pointers) - 1):
        if row_pointers[r + 1] < row_pointers[r]:
            return False
    for r in range(len(row_pointers) - 1):
        last = -1
        for e in range(row_pointers[r], row_pointers[r + 1]):
            if not last < units[e] < n or counts[e] == 0:
                return False
            last = units[e]
    return True
