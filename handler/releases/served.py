"""The version that serves a scorer's requests: one reference, which a swap replaces atomically."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from handler.releases.shadow import Shadow
from handler.scoring.contract import Contract
from handler.scoring.scorer import Scorer

if TYPE_CHECKING:
    from handler.releases.lists import Lists


@dataclass(frozen=True, slots=True)
class Served:
    """A scorer that answers, with its shadow and its lists if there are any."""

    scorer: Scorer
    shadow: Shadow | None = None
    lists: "Lists | None" = None
    """The lists that the pointer names, which decide a request whatever its score."""


class Slot:
    """A scorer's place in the application; a request reads `served` once and uses that version throughout."""

    def __init__(self, packaged: Scorer) -> None:
        """Serve the packaged scorer, whose contract every later version must keep."""
        self.served = Served(packaged)
        self.promised: Contract = packaged.contract
