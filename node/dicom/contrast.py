"""Whether a header says that contrast medium was given.

The same rules as `segmenter/read/contrast.py`, on raw values; `tests/unit/test_contrast.py` holds both to one table.
Only the segmenter looks into the agent sequence and the usage of each frame.
"""

import re

from node.dicom.attributes import AttributeReader

_NO = r"(no|non|not|without|w o|wo|ohne|kein(?:e|er|es)?|sans|sin|senza|zonder|sem)"
_WHAT = (
    r"(iv|i v|any|contrast\w*|kontrast\w*|agent|medium|media|cm|km|pdc|mdc|given|used|applied|administered|applicable|"
    r"enhanced|injection)"
)
NO_AGENT = re.compile(
    rf"|n|na|n a|none|nil|null|nein|native?|nativo|plain|unenhanced|aucun|0+( ?ml)?|{_NO}( ?{_WHAT})*", re.IGNORECASE
)
"""Texts that say that no agent was given. "Non ionic" is a kind of agent."""


def contrast_given(read: AttributeReader, *, agents: bool) -> bool:
    """Tell whether agent, ingredient, volume or dose say so. agents: there is a sequence of agents."""
    texts = (read.text(keyword) for keyword in ("ContrastBolusAgent", "ContrastBolusIngredient"))
    amounts = (read.numbers(keyword, 1) or (0.0,) for keyword in ("ContrastBolusVolume", "ContrastBolusTotalDose"))
    named = any(NO_AGENT.fullmatch(" ".join(re.findall(r"\w+", text))) is None for text in texts)
    return agents or named or any(amount > 0 for (amount,) in amounts)
