"""Turn executed notebooks into HTML; called by workflow/rules/report.smk."""

import sys
from pathlib import Path

# jsonschema, behind nbconvert, would spend 0.7 s on a grammar for addresses that no notebook needs.
sys.modules["rfc3987_syntax"] = None

from nbconvert import HTMLExporter  # noqa: E402

from paraspike.paths import replacing  # noqa: E402

exporter = HTMLExporter(template_name="lab")
for page in map(Path, snakemake.output):
    text, _ = exporter.from_filename(str(page.with_suffix(".ipynb")))
    with replacing(page) as temporary:
        temporary.write_text(text)
