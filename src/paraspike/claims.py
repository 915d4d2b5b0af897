"""Published claims beside what was measured here: a verdict and a note for every one of them."""

import importlib
import shutil
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from paraspike import paths
from paraspike.errors import ReaderError
from paraspike.judges import Finding, Judge, Missing, select, weigh
from paraspike.netcdf import open_paper

COLUMNS = ["claim_id", "paper", "figure", "statement", "published", "measured", "unit", "kind"]
COLUMNS += ["verdict", "scale", "backend", "data", "note"]
VERDICTS = (
    "reproduced",
    "not reproduced",
    "beyond",
    "direction holds (synthetic)",
    "not tested here",
)
SYNTHETIC = ("cochlea", "digits", "blobs")


class Needs(BaseModel):
    """What judging a claim takes; a need that is not met makes it `not tested here`.

    Attributes:
        dataset: the data the published number was measured on.  scale: `paper`.
        backend: e.g. cuda.  device: text in the device's name, for absolute times.
        seeds: the fewest seeds.
    """

    model_config = ConfigDict(extra="forbid")
    dataset: str | None = None
    scale: Literal["paper"] | None = None
    backend: str | None = None
    device: str | None = None
    seeds: int = 0


class Claim(BaseModel):
    """One row of data/published/claims.yaml.

    Attributes:
        statement: the sentence in our words.  quantity: what is compared.
        published: the number, None for a sentence without one.
        about: accuracy and augmentation claims are held back on synthetic data.
        left, right: selections (see `judges.select`), by the name they have in notes.
        note: what a reader must know whatever was measured.
    """

    model_config = ConfigDict(extra="forbid")
    id: str
    paper: str
    figure: str
    statement: str
    quantity: str
    published: float | None = None
    unit: str
    about: Literal["accuracy", "augmentation", "activity", "time", "mechanism"]
    left: dict[str, str] = {}
    right: dict[str, str] = {}
    judge: Judge
    needs: Needs = Needs()
    kind: Literal["measured", "modelled"] = "measured"
    note: str = ""


def load(file: str | Path | None = None) -> list[Claim]:
    """The published claims.

    Raises:
        ReaderError: names the claim and the key that is wrong, or an id that is there twice.
    """
    file = Path(file) if file else paths.published("claims.yaml")
    claims = []
    for row in yaml.safe_load(file.read_text()):
        try:
            claims.append(Claim(**row))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            what = f"claim {row.get('id', '?')!r}: {key}: {first['msg']}"
            raise ReaderError(what, paths.relative(file)) from error
    twice = [name for name, n in Counter(claim.id for claim in claims).items() if n > 1]
    if twice:
        raise ReaderError(f"claim id {twice[0]!r} is there twice", paths.relative(file))
    return claims


def judge_all(trees: Sequence[str | Path], claims_file: str | Path | None = None) -> pd.DataFrame:
    """A row for every claim of the papers whose DataTree files are given (all papers for none).

    Raises:
        ReaderError: a file is missing, or claims.yaml is wrong.
    """
    opened = {tree.attrs["paper"]: tree for tree in map(open_paper, trees)}
    claims = [c for c in load(claims_file) if not opened or c.paper in opened]
    rows = [judge(claim, opened.get(claim.paper, xr.DataTree())) for claim in claims]
    return pd.DataFrame(rows, columns=COLUMNS)


def judge(claim: Claim, tree: xr.DataTree) -> dict:
    """One row of claims.csv for one claim and its paper's results."""
    attrs, unmet = _facts(claim, tree), []
    try:
        sides = [
            {name: select(tree, expression) for name, expression in side.items()}
            for side in (claim.left, claim.right)
        ]
        unmet = _unmet(claim, attrs, sides[0])
        finding = _finding(claim, tree, sides)
    except Missing as missing:
        finding = Finding(None, np.nan, str(missing))
    verdict, reason = _verdict(claim, finding, unmet, attrs)
    unverified = attrs.get("data_verified", 1) == 0
    notes = [
        claim.quantity,
        "data unverified: its checksum is not the published one" if unverified else "",
        reason,
        finding.text,
        claim.note,
        "other processes used the machine while this was timed" if attrs.get("disturbed") else "",
    ]
    data = attrs.get("dataset", "none")
    return {
        "claim_id": claim.id,
        "paper": claim.paper,
        "figure": claim.figure,
        "statement": claim.statement,
        "published": np.nan if claim.published is None else claim.published,
        "measured": float(f"{finding.measured:.5g}"),
        "unit": claim.unit,
        "kind": claim.kind,
        "verdict": verdict,
        "scale": attrs.get("scale", "none"),
        "backend": attrs.get("backend", "none"),
        "data": f"{data} (unverified)" if unverified else data,
        "note": "; ".join(filter(None, notes)),
    }


def _finding(claim: Claim, tree: xr.DataTree, sides: Sequence[Mapping]) -> Finding:
    if claim.judge.method == "none":
        return Finding(None, np.nan)
    if claim.judge.method == "function":
        module = importlib.import_module(f"paraspike.papers.{claim.paper}_claims")
        return getattr(module, claim.judge.name)(tree, claim, *sides)
    return weigh(claim.judge, *sides, claim.published)


def _facts(claim: Claim, tree: xr.DataTree) -> dict:
    """Attributes of the experiments a claim draws on; values that differ are joined."""
    expressions = (*claim.left.values(), *claim.right.values())
    names = {expression.split("/")[0] for expression in expressions}
    groups = [tree[name].to_dataset() for name in sorted(names) if name in tree.children]
    facts = {key: tree.attrs[key] for key in ("scale", "backend") if key in tree.attrs}
    for key in ("scale", "backend", "dataset", "device"):
        seen = dict.fromkeys(str(g.attrs[key]) for g in groups if key in g.attrs)
        if seen:
            facts[key] = ", ".join(seen)
    facts["data_verified"] = min((g.attrs.get("data_verified", 1) for g in groups), default=1)
    facts["disturbed"] = any(float(g["disturbed"].max()) > 0 for g in groups if "disturbed" in g)
    return facts


def _unmet(claim: Claim, attrs: Mapping, left: Mapping) -> list[str]:
    needs, unmet = claim.needs, []
    for key in ("dataset", "scale", "backend", "device"):
        wanted, have = getattr(needs, key), attrs.get(key, "unknown")
        fits = have == wanted if key != "device" else str(wanted).lower() in have.lower()
        if wanted and not fits:
            unmet.append(f"{key} {wanted} (here {have})")
    seeds = min((a.sizes.get("seed", 1) for a in left.values()), default=needs.seeds)
    if seeds < needs.seeds:
        unmet.append(f"{needs.seeds} seeds (here {seeds})")
    return unmet


def _verdict(
    claim: Claim, finding: Finding, unmet: Sequence[str], attrs: Mapping
) -> tuple[str, str]:
    """The verdict, and the part of the note that explains it."""
    data = attrs.get("dataset")
    synthetic = bool(claim.needs.dataset) and data in SYNTHETIC
    reason = f"needs {', '.join(unmet)}" if unmet else ""
    if attrs.get("scale") == "smoke":
        return "not tested here", "smoke scale only tests the pipeline"
    if finding.holds is None:
        return "not tested here", reason
    if not unmet:
        kept = "reproduced" if finding.holds else "not reproduced"
        return "beyond" if finding.beyond else kept, ""
    if synthetic and claim.about == "augmentation":
        why = f"{data} was tuned so that augmentation gains, so it cannot test this"
        return "not tested here", f"{reason}; {why}"
    if finding.towards is None:
        return "not tested here", reason
    on = f"on {data} data" if synthetic else "here"
    if not finding.towards:
        return "not tested here", f"{reason}; the direction does not show {on}"
    # Synthetic data stand in for the data set and its size, never for a device.
    stand_in = synthetic and not any(u.startswith(("backend", "device")) for u in unmet)
    verdict = "direction holds (synthetic)" if stand_in else "not tested here"
    return verdict, f"{reason}; the direction shows {on}"


def write_csv(table: pd.DataFrame, file: str | Path) -> None:
    """claims.csv, whole or not at all."""
    with paths.replacing(paths.resolve(file)) as temporary:
        table.to_csv(temporary, index=False)


def print_table(table: pd.DataFrame, width: int | None = None) -> None:
    """The claims by verdict, wrapped to the terminal."""
    width = min(width or shutil.get_terminal_size((100, 24)).columns, 120)
    counts = Counter(table.verdict)
    for verdict in VERDICTS:
        if not counts[verdict]:
            continue
        print(f"\n{verdict}: {counts[verdict]} of {len(table)}\n{'-' * width}")
        for row in table[table.verdict == verdict].itertuples():
            unit = "" if row.unit == "1" else f" {row.unit}"
            published = "no number" if np.isnan(row.published) else f"{row.published:g}{unit}"
            measured = "none" if np.isnan(row.measured) else f"{row.measured:g}{unit}"
            facts = f"published {published}, {row.kind} {measured} ({row.scale}, {row.backend}"
            lines = [
                (f"{row.claim_id} ({row.figure}): {row.statement}", ""),
                (f"{facts}, {row.data})", "    "),
                (row.note, "    "),
            ]
            for text, indent in lines:
                for line in textwrap.wrap(
                    text, width, initial_indent=indent, subsequent_indent="    "
                ):
                    print(line)
