"""Licences by the Hub's identifiers, and which of them may stand over sources that have licences of their own.

What decides is what a source asks of whoever passes it on: to earn nothing with it, to change nothing, to share
alike, to name its maker. This is no legal advice; it keeps out what is plainly wrong.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

KNOWN = frozenset(
    (
        "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 "
        "bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc "
        "cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 "
        "cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 "
        "cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 "
        "eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research intel-research lppl-1.3c "
        "ms-pl mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr "
        "other"
    ).split()
)
"""As the Hub's documentation of repositories lists them, without those of single makers of models, and without
`unknown`: what nobody may use need not be published."""

OTHER = "other"

_SPELT = {"publicdomain": "pd", "pdm": "pd", "pd": "pd", "cc0": "cc0-1.0", "cczero": "cc0-1.0"}
_CLOSED = re.compile(r"all rights reserved|proprietary|youtube|standard licen[cs]e|editorial|copyright")
_CC = re.compile(r"\b(?:cc|creative commons)\b|\bby\b")
_WORDS = {"attribution": "by", "noncommercial": "nc", "noderivatives": "nd", "noderivs": "nd", "sharealike": "sa"}
_FREE = frozenset({"pd", "cc0-1.0", "unlicense", "wtfpl", "pddl"})
_NAMING = frozenset(
    "apache-2.0 mit bsd bsd-2-clause bsd-3-clause isc zlib cdla-permissive-1.0 cdla-permissive-2.0 odc-by etalab-2.0 "
    "afl-3.0 ncsa postgresql bsl-1.0".split()
)
_ALIKE = frozenset(
    "gpl gpl-2.0 gpl-3.0 agpl-3.0 lgpl lgpl-2.1 lgpl-3.0 gfdl odbl cdla-sharing-1.0 mpl-2.0 osl-3.0 eupl-1.1 "
    "eupl-1.2 epl-1.0 epl-2.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0".split()
)
"""Licences whose works go on under the same licence only."""


def unknown(licence: str) -> str | None:
    """Why a licence cannot be declared; None: it can."""
    if licence in KNOWN:
        return None
    if licence == "unknown":
        return "a dataset of unknown licence is nobody's to use; name the licence, or `other` with --license-link"
    near = difflib.get_close_matches(licence.lower(), KNOWN, n=3)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"the Hub knows no licence {licence!r}{meant}; another one is `--license other --license-link URL`"


def normal(text: str) -> str:
    """A licence as the list of a user has it, in the Hub's spelling where it can be recognised, else in lower case."""
    told = " ".join(text.lower().replace("_", "-").split())
    if found := re.search(r"creativecommons\.org/(licenses|publicdomain)/([a-z-]+)(?:/([\d.]+))?", told):
        kind, which, version = found.groups()
        if kind == "publicdomain":
            return "cc0-1.0" if which == "zero" else "pd"
        return "cc-" + which + (f"-{version}" if version else "")
    squeezed = re.sub(r"[^a-z0-9]", "", told)
    if squeezed in _SPELT or squeezed.startswith("cc0"):
        return _SPELT.get(squeezed, "cc0-1.0")
    if _CC.search(told) and not _CLOSED.search(told):
        joined = told.replace("non-commercial", "noncommercial").replace("non commercial", "noncommercial")
        joined = joined.replace("share-alike", "sharealike").replace("share alike", "sharealike")
        joined = re.sub(r"no[- ]deriv", "noderiv", joined)
        parts = [_WORDS.get(word, word) for word in re.findall(r"[a-z]+|\d+(?:\.\d+)?", joined)]
        terms = [term for term in ("by", "nc", "nd", "sa") if term in parts]
        version = next((p if "." in p else f"{p}.0" for p in parts if p[0].isdigit()), "")
        if terms:
            return "-".join(["cc", *terms, *([version] if version else [])])
    hyphened = told.replace(" ", "-")
    return hyphened if hyphened in KNOWN else told


def spelt(text: str) -> str:
    """A licence in the Hub's spelling where it has one, else as it was written."""
    known = normal(text)
    return known if known in KNOWN else "public domain" if known == "pd" else text


def conflicts(declared: str, sources: Mapping[str, int]) -> list[str]:
    """Why a dataset of these sources may not be given a licence, a line for each kind of source licence.

    Args:
        sources: how many sources there are of each licence, as the user's list has it; an empty one says nothing and
            is no conflict.
    """
    if declared == OTHER:
        return []
    lines = []
    for told, count in sources.items():
        if told and (why := _conflict(declared, normal(told))):
            lines.append(f"{count} source{'s' * (count != 1)} under {told!r}: {why}")
    return lines


def _conflict(declared: str, source: str) -> str | None:
    asked, given = _terms(source), _terms(declared)
    if "nd" in asked:
        return "may not be changed, and clips are cut out of it"
    if source == declared or source in _FREE:
        return None
    if _CLOSED.search(source):
        return "passes on no rights"
    if "nc" in asked and "nc" not in given:
        return f"not for commercial use, which {declared} allows"
    if source in _ALIKE or "sa" in asked:
        same = asked == given and source.startswith("cc-")
        return None if same else f"goes on under its own licence only, not under {declared}"
    if asked or source in _NAMING:
        return f"asks to be named, which {declared} does not" if declared in _FREE else None
    return "is no licence that is known here, so that nothing says it may go on under another"


def _terms(licence: str) -> frozenset[str]:
    """What a Creative Commons licence asks for: by, nc, nd, sa."""
    return frozenset(licence.split("-")) & {"by", "nc", "nd", "sa"} if licence.startswith("cc-") else frozenset()
