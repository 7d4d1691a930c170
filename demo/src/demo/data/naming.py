"""Names for products. The data set has only types and package sizes in the words of a till.

A type is in capitals, abbreviated, cut off after 30 characters: "BUTTER SPRAY CRACKER (RITZ/CLU".
A size is a number and a unit, sometimes between codes of the warehouse: "528083 5 PK".
"""

import re

TYPE_LENGTH = 30
"""Characters after which the data set cuts a type off, even in the middle of a word."""

WORDS = {
    "BEERALEMALT": "beer, ale and malt",
    "BRD": "breaded",
    "BTL": "bottle",
    "BTR": "butter",
    "CARB": "carbonated",
    "CATFD": "cat food",
    "CHICK": "chicken",
    "CHIX": "chicken",
    "CHOC": "chocolate",
    "CND": "canned",
    "CNTRL": "control",
    "CONC": "concentrated",
    "DNRS": "dinners",
    "DOGFD": "dog food",
    "DRNK": "drink",
    "DRNKING": "drinking",
    "DRNKNG": "drinking",
    "FEM": "feminine",
    "FLVR": "flavor",
    "FLVRD": "flavored",
    "FRE": "fresh",
    "FRZ": "frozen",
    "FRZN": "frozen",
    "FS": "French style",
    "GDS": "goods",
    "GRND": "ground",
    "HYGN": "hygiene",
    "IWS": "individually wrapped",
    "JCE": "juice",
    "JUI": "juice",
    "JUIC": "juice",
    "MISC": "miscellaneous",
    "MLK": "milk",
    "MLT": "multi",
    "MNERAL": "mineral",
    "MNRL": "mineral",
    "MXS": "mixes",
    "PCKGD": "packaged",
    "PNT": "peanut",
    "PREM": "premium",
    "PRPCK": "prepacked",
    "REFRGRATD": "refrigerated",
    "REFRIG": "refrigerated",
    "SAUCESSALSAPICANTEE": "sauces, salsa and picante",
    "RTS": "ready-to-serve",
    "SANDWIC": "sandwiches",
    "SFT": "soft",
    "SHERBTS": "sherbets",
    "SNGL": "single",
    "SPECILATY": "specialty",
    "SRV": "serve",
    "SS": "single-serve",
    "SUP": "super",
    "SUPP": "supplement",
    "SW": "sweet",
    "VAC": "vacuum",
    "VEG": "vegetable",
    "WATE": "water",
    "WT": "weight",
    "WTR": "water",
    "XPCTRNT": "expectorant",
}
"""Words that many products abbreviate or cut off, and two that lack their punctuation."""

CAPITALS = frozenset(
    ("BBQ", "CD", "DVD", "DXM", "GM", "IQF", "MLB", "NFL", "NZ", "OJ", "OTC", "PSE", "TN", "TV")
)
"""Words that stay in capitals."""

VAGUE = frozenset(
    (
        *("BLENDS", "CHOICE", "DRY", "ECONOMY", "ENHANCED", "EXTERNAL", "FRESH", "INTERNAL"),
        *("KITS", "LEAN", "LOAVE", "MAINSTREAM", "MICROWAVE", "MISCELLANEOUS", "NOVELTIES"),
        *("OTHER", "OVEN", "PAILS", "PATTIES", "PRE-COOKED", "PREMIUM", "PRIMAL", "PROMOTIONAL"),
        *("QUARTS", "RED", "SEASONAL", "SMOKED/COOKED", "SPECIALTY", "TRADITIONAL", "TREATS"),
        "VALUE",
    )
)
"""Types that need their category to be understood ("Bacon, economy")."""

UNITS = {"ga": "gal", "galon": "gal", "l": "L", "ld": "loads", "load": "loads"}
"""Units that have several names in the data set, and the one that has a capital letter."""


def product_name(category: str | None, product_type: str, package_size: str | None) -> str:
    """Return a readable name of type and package size: "Bananas, 40 lb"."""
    kind = readable(_without_fragments(product_type))
    if product_type in VAGUE and category is not None and category != product_type:
        kind = f"{readable(_without_fragments(category))}, {_lower_first(kind)}"
    size = readable_size(package_size or "")
    return f"{kind}, {size}" if size else kind


def readable(text: str) -> str:
    """Return upper-case words as a phrase that starts with a capital letter."""
    text = re.sub(r"\b(MEN|WOMEN|CHILDREN) S\b", r"\1'S", text)
    text = re.sub(r"(?<=[A-Z]{2})\.(?=[A-Z ])", " ", text)
    text = re.sub(r"(?<=[A-Z]):(?=[A-Z])", ": ", text)
    text = re.sub(r"(?<=[A-Z])- ", " - ", text)
    text = re.sub(r"(?<=[A-Z)])&(?=[A-Z(])", " & ", text)
    text = re.sub(r"(?<=[A-Z])\(", " (", text)
    text = re.sub(r"[A-Z][A-Z']*", lambda word: _readable_word(word[0]), text)
    text = re.sub(r"\s+", " ", text).strip()
    return text[:1].upper() + text[1:]


def readable_size(text: str) -> str:
    """Return a package size in lower case ("12 ct/11 oz"); empty if it has no number."""
    text = re.sub(r"\(\d*\)|\d{5,}|[*]", " ", text)
    text = re.sub(r"^\s*(?:[A-Z]{1,2}\s+)+(?=[\d.])", "", text)
    text = re.sub(r"(?<![\d.])\.(?=\d)", "0.", text)
    text = re.sub(r"(?<=\d)\s*X\s*(?=\d)|(?<=IN)\s*X\s*(?=\d)", " x ", text)
    text = re.sub(r"(?<=\d) *[OZ]$", " OZ", text)
    text = re.sub(r"\s*/\s*", "/", re.sub(r"\s+", " ", text)).strip(" ./-")
    if not re.search(r"\d", text) or not re.search(r"[A-Z]", text):
        return ""
    return re.sub(r"[a-z]+", lambda unit: UNITS.get(unit[0], unit[0]), text.lower())


def _readable_word(word: str) -> str:
    """Return a word of the data set in lower case and written out."""
    return word if word in CAPITALS else WORDS.get(word, word.lower())


def _without_fragments(text: str) -> str:
    """Return a type without the fragments of a cut: an open bracket, a word's first letters."""
    cleaned = re.sub(r"\([^)]*$", "", text)
    if len(cleaned) == TYPE_LENGTH:
        cleaned = re.sub(r"(?:[ /&-]+[A-Z]{1,3})+$", _keep_known_word, cleaned)
    return cleaned.rstrip(" /&-:")


def _keep_known_word(end: re.Match[str]) -> str:
    """Return the letters at a cut if they are a whole word, otherwise nothing."""
    return end[0] if end[0].strip(" /&-") in WORDS else ""


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
