"""Whether a header says that contrast medium was given: agent, volume, ingredient, sequence and usage of each frame."""

import re
from collections.abc import Sequence
from contextlib import suppress

from pydicom.dataset import Dataset

from segmenter.read.header_values import texts_of, value_of

_NO = r"(no|non|not|without|w o|wo|ohne|kein(?:e|er|es)?|sans|sin|senza|zonder|sem)"
_WHAT = (
    r"(iv|i v|any|contrast\w*|kontrast\w*|agent|medium|media|cm|km|pdc|mdc|given|used|applied|administered|applicable|"
    r"enhanced|injection)"
)
NO_AGENT = re.compile(
    rf"|n|na|n a|none|nil|null|nein|native?|nativo|plain|unenhanced|aucun|0+( ?ml)?|{_NO}( ?{_WHAT})*", re.IGNORECASE
)
"""Texts that say that no agent was given. "Non ionic" is a kind of agent."""
AMOUNTS = ("ContrastBolusVolume", "ContrastBolusTotalDose")
ADMINISTERED, DETECTED = "ContrastBolusAgentAdministered", "ContrastBolusAgentDetected"


def contrast_given(header: Dataset, groups: Sequence[Dataset] = ()) -> bool:
    """Return whether contrast medium was given according to a CT header (PS3.3 C.7.6.4, C.7.6.4b).

    groups: the functional group items of one frame of an enhanced object; its usage says which of the agents of the
    object had been given when the frame was taken (PS3.3 C.7.6.16.2.12). Texts that deny an agent are none.
    """
    if any(_names_agent(text) for text in texts_of(header, "ContrastBolusAgent")):
        return True
    if any(_names_agent(text) for text in texts_of(header, "ContrastBolusIngredient")):
        return True
    if any(_number(header, keyword) > 0 for keyword in AMOUNTS):
        return True
    usage = [item for item in groups if any(item.get(keyword) for keyword in (ADMINISTERED, DETECTED))]
    if usage:
        return any("YES" in (item.get(ADMINISTERED), item.get(DETECTED)) for item in usage)
    agents = value_of(header, "ContrastBolusAgentSequence") or ()
    return any(all(map(_names_agent, texts_of(agent, "CodeMeaning"))) for agent in agents)


def _names_agent(text: str) -> bool:
    return NO_AGENT.fullmatch(" ".join(re.findall(r"\w+", text))) is None


def _number(item: Dataset, keyword: str) -> float:
    with suppress(ValueError, TypeError):
        return float(value_of(item, keyword))
    return 0.0
