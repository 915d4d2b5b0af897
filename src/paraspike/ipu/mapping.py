"""Which tile holds which neurons, and whether they fit its memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paraspike.errors import ReaderError
from paraspike.ipu.constants import value
from paraspike.ipu.machine import Machine


def slots_of(activity: float, neurons: int) -> int:
    """Slots of a list for the published maximum activity: floor(activity N / 2) 2, at least 2."""
    return max(2, 2 * int(activity * neurons / 2 + 1e-9))


@dataclass(frozen=True)
class Block:
    """Where one layer lies: `n` neurons in blocks of `per_tile` on tiles first_tile .. of one IPU."""

    n_in: int
    n: int
    slots_in: int
    slots: int
    ipu: int
    first_tile: int
    per_tile: int

    @property
    def tiles(self) -> int:
        """Tiles that hold neurons of the layer."""
        return -(-self.n // self.per_tile)

    def neurons(self, tile: int) -> range:
        """Neurons of the layer's tile number `tile`."""
        return range(tile * self.per_tile, min(self.n, (tile + 1) * self.per_tile))


@dataclass(frozen=True)
class Mapping:
    """A network on tiles: one `Block` a layer; `bytes` [ipus, tiles] is the memory each tile needs."""

    machine: Machine
    ipus: int
    batch: int
    steps: int
    blocks: tuple[Block, ...]
    bytes: np.ndarray


def place(
    sizes: Sequence[int],
    slots: Sequence[int],
    machine: Machine,
    *,
    ipus: int = 1,
    batch: int = 48,
    steps: int = 100,
    per_tile: int | None = None,
    optimizer: str = "adam",
    element: int = int(value("word")),
    check: bool = True,
) -> Mapping:
    """Map layers in blocks of neurons, as published: a layer never straddles IPUs, layers fill IPU
    after IPU, tile 0 of the first one is reserved.

    Args:
        sizes: neurons of input and every layer.  slots: entries of each one's spike list, likewise.
        per_tile: neurons a tile holds; None for the smallest even number with which all tiles suffice.
        optimizer: adam keeps two moments beside the weights, sgd nothing.  element: bytes of a float.
        check: refuse what does not fit; without it `Mapping.bytes` tells.

    Raises:
        ReaderError: fewer layers than IPUs, more tiles needed than there are, or a tile whose memory
            does not suffice: says which, and by how much.
    """
    layers = len(sizes) - 1
    if layers < 1 or len(slots) != len(sizes) or min(sizes) < 1 or min(slots) < 1:
        raise ReaderError(f"sizes {list(sizes)} with slots {list(slots)}", "ipu.place")
    if not 1 <= ipus <= machine.ipus:
        raise ReaderError(f"{ipus} IPUs", "ipu.place", f"1 to {machine.ipus} {machine.name}")
    if per_tile is not None and per_tile < 1:
        raise ReaderError(
            f"{per_tile} neurons a tile", "ipu.place", "1 or more, None for as few as can be"
        )
    if layers < ipus:
        raise ReaderError(
            f"{layers} layers on {ipus} IPUs", "ipu.place", "a layer never straddles two of them"
        )
    share = _shares(sizes[1:], ipus)
    candidates = range(2, 2 * max(sizes[1:]) + 2, 2) if per_tile is None else [per_tile]
    for chosen in candidates:
        needed = [sum(-(-n // chosen) for n, i in zip(sizes[1:], share, strict=True) if i == k)
                  for k in range(ipus)]  # fmt: skip
        if all(need <= machine.tiles - (k == 0) for k, need in enumerate(needed)):
            break
    else:
        k = int(np.argmax(needed))
        raise ReaderError(
            f"{needed[k]} tiles are needed on IPU {k} with {chosen} neurons a tile",
            f"ipu.place on {machine.name}: {machine.tiles - (k == 0)} tiles",
            "more neurons a tile, or more IPUs",
        )
    blocks, used = [], [1] + [0] * (ipus - 1)
    for layer, ipu in enumerate(share):
        n_in, n = sizes[layer], sizes[layer + 1]
        blocks.append(Block(n_in, n, slots[layer], slots[layer + 1], ipu, used[ipu], chosen))
        used[ipu] += -(-n // chosen)
    need = np.zeros((ipus, machine.tiles), np.int64)
    for block in blocks:
        need[block.ipu, block.first_tile : block.first_tile + block.tiles] += _memory(
            block, batch, steps, optimizer, element
        )
    mapping = Mapping(machine, ipus, batch, steps, tuple(blocks), need)
    if check:
        _check_memory(mapping)
    return mapping


def _shares(sizes, ipus):
    """IPU of each layer: contiguous, the largest share of neurons as small as can be."""
    low, high = max(sizes), sum(sizes)
    while low < high:
        middle = (low + high) // 2
        if _parts(sizes, middle) <= ipus:
            high = middle
        else:
            low = middle + 1
    share, part, load = [], 0, 0
    for layer, n in enumerate(sizes):
        left = len(sizes) - layer
        # The rest must still give every IPU a layer.
        if load and (load + n > low or left <= ipus - 1 - part):
            part, load = part + 1, 0
        share.append(part)
        load += n
    return share


def _parts(sizes, limit):
    parts, load = 1, 0
    for n in sizes:
        if load + n > limit:
            parts, load = parts + 1, 0
        load += n
    return parts


def _memory(block, batch, steps, optimizer, element):
    """Bytes a tile of the block needs: weights with their gradients and moments; potentials of all steps
    for the way back; the one list with its gradient that is alive at a moment (Poplar lets buffers share
    memory that are not alive together); its share of the lists of all steps."""
    copies = value("weight_copies") + (value("adam_copies") if optimizer == "adam" else 0)
    weights = copies * block.n_in * block.per_tile
    states = (steps + int(value("state_copies"))) * batch * block.per_tile
    lists = batch * 2 * (max(block.slots_in, block.slots) + 1)
    history = -(-steps * batch * (block.slots + 2) // block.tiles)
    piece = int(value("worker_states"))
    gathered = batch * 2 * -(-block.n // piece) * piece // block.tiles
    return int(value("program_bytes") + element * (weights + states + lists + history + gathered))


def _check_memory(mapping):
    machine, over = mapping.machine, mapping.bytes - mapping.machine.sram
    if over.max(initial=0) <= 0:
        return
    ipu, tile = np.unravel_index(int(over.argmax()), over.shape)
    layer = next(
        k
        for k, b in enumerate(mapping.blocks)
        if b.ipu == ipu and b.first_tile <= tile < b.first_tile + b.tiles
    )
    raise ReaderError(
        f"layer {layer + 1} needs {mapping.bytes[ipu, tile] / 1024:.0f} KiB on tile {tile} of IPU {ipu}, "
        f"{over[ipu, tile] / 1024:.0f} KiB more than it has",
        f"ipu.place on {machine.name}: {machine.sram // 1024} KiB a tile, "
        f"{mapping.blocks[layer].per_tile} neurons a tile",
        "fewer neurons a tile, more IPUs, fewer steps or a smaller batch",
    )


def missing(fits) -> str:
    """In words, which of many networks do not fit: for each machine, depths and from which activity on.

    Args:
        fits: DataArray of bool over machine, depth and activity.
    """
    text, least = "", (100 * fits["activity"]).where(~fits).min("activity")
    for name, some in fits.any(("depth", "activity")).to_series().items():
        one = least.sel(machine=name).to_series().dropna()
        parts = [f"{', '.join(map(str, g.index))} layers from {a:g} %" for a, g in one.groupby(one)]
        if parts:
            text += f"\n{name}: {'; '.join(parts) if some else 'all networks'}"
    return text and f"do not fit SRAM, not drawn:{text}"
