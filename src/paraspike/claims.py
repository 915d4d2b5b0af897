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
from paraspike.judges import Finding, Judge, Missing, centre, select, weigh
from paraspike.machine import label
from paraspike.needs import Needs, facts, near_chance, unmet
from paraspike.netcdf import open_elsewhere, open_paper

COLUMNS = ["claim_id", "paper", "figure", "statement", "published", "measured", "unit", "kind"]
COLUMNS += ["verdict", "scale", "backend", "data", "note"]
VERDICTS = (
    "reproduced",
    "not reproduced",
    "beyond",
    "direction holds (synthetic)",
    "not tested here",
)
SYNTHETIC = ("cochlea", "digits", "blobs", "modulation")


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


def judge_all(
    trees: Sequence[str | Path],
    claims_file: str | Path | None = None,
    kept: Sequence[str | Path] = (),
) -> pd.DataFrame:
    """A row for every claim of the papers whose DataTree files are given (all papers for none).

    Args:
        kept: more DataTree files of these papers, measured elsewhere (data/measured/<device>/<paper>.nc); they
            add a row for every claim that they hold something for, which names the device.

    Raises:
        ReaderError: a file is missing, or claims.yaml is wrong.
    """
    opened = {tree.attrs["paper"]: tree for tree in map(open_paper, trees)}
    claims = [c for c in load(claims_file) if not opened or c.paper in opened]
    rows = [judge(claim, opened.get(claim.paper, xr.DataTree())) for claim in claims]
    for device, where, tree in open_elsewhere(kept):
        more = [judge(claim, tree) for claim in claims if claim.paper == tree.attrs["paper"]]
        for row in more:
            if not np.isnan(row["measured"]):
                rows.append(row | {"note": f"measured on {device}, {where}; {row['note']}"})
    return pd.DataFrame(rows, columns=COLUMNS)


def judge(claim: Claim, tree: xr.DataTree) -> dict:
    """One row of claims.csv for one claim and its paper's results."""
    expressions = claim.left | claim.right
    known, lacking, chance = facts(tree, expressions.values()), [], []
    try:
        sides = [
            {name: select(tree, expression) for name, expression in side.items()}
            for side in (claim.left, claim.right)
        ]
        lacking = unmet(claim.needs, tree, expressions.values(), known, sides[0])
        chance = near_chance(tree, expressions, sides[0] | sides[1])
        finding = _finding(claim, tree, sides)
    except Missing as missing:
        finding = Finding(None, np.nan, str(missing))
    verdict, reason = _verdict(claim, finding, lacking, known, chance)
    notes = [claim.quantity, reason, finding.text, claim.note]
    data = known.get("dataset", "none")
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
        "scale": known.get("scale", "none"),
        "backend": label(known.get("backend", "none")),
        "data": f"{data} (unverified)" if known["unverified"] else data,
        "note": "; ".join(filter(None, notes)),
    }


def _finding(claim: Claim, tree: xr.DataTree, sides: Sequence[Mapping]) -> Finding:
    if claim.judge.method == "none":
        left = [centre(array) for array in sides[0].values()]
        return Finding(None, float(np.mean(left)) if left else np.nan)
    if claim.judge.method == "function":
        module = importlib.import_module(f"paraspike.papers.{claim.paper}_claims")
        return getattr(module, claim.judge.name)(tree, claim, *sides)
    return weigh(claim.judge, *sides, claim.published)


def _verdict(
    claim: Claim, finding: Finding, lacking: Sequence[str], known: Mapping, chance: Sequence[str]
) -> tuple[str, str]:
    """The verdict, and the part of the note that explains it."""
    data = known.get("dataset")
    synthetic = bool(claim.needs.dataset) and bool({*str(data).split(", ")} & {*SYNTHETIC})
    reasons = [f"needs {', '.join(lacking)}"] if lacking else []
    if known["disturbed"]:
        reasons.append("other processes used the machine while this was timed")
    if chance:
        reasons.append(f"near chance: {', '.join(chance)}")

    def held_back(*more: str) -> tuple[str, str]:
        return "not tested here", "; ".join([*reasons, *more])

    if known.get("scale") == "smoke":
        return "not tested here", "smoke scale only tests the pipeline"
    if finding.holds is None or known["disturbed"] or chance:
        return held_back()
    if not lacking:
        kept = "reproduced" if finding.holds else "not reproduced"
        return "beyond" if finding.beyond else kept, ""
    if synthetic and claim.about == "augmentation":
        why = f"{data} was tuned so that augmentation gains for the LIF network"
        return held_back(f"{why}, so no claim about augmentation is judged on it")
    if finding.towards is None:
        return held_back()
    on = f"on {data} data" if synthetic else "here"
    one_seed = f"{claim.needs.seeds} seeds (here 1)" in lacking
    if not finding.towards or one_seed:
        return held_back(f"no clear direction {on}")
    # Synthetic data stand in for the data set and its size, never for a device.
    stand_in = synthetic and not any(u.startswith(("backend", "device")) for u in lacking)
    verdict = "direction holds (synthetic)" if stand_in else "not tested here"
    return verdict, "; ".join([*reasons, f"the direction shows {on}"])


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
