"""What answers a scorer's requests now: one reference, which a swap exchanges whole."""

from dataclasses import dataclass

from handler.releases.shadow import Shadow
from handler.scoring.contract import Contract
from handler.scoring.scorer import Scorer


@dataclass(frozen=True, slots=True)
class Served:
    """A scorer that answers, and perhaps another that is scored in its shadow."""

    scorer: Scorer
    shadow: Shadow | None = None


class Slot:
    """A scorer's place in the application. A request reads `served` once, and is answered wholly by what it found."""

    def __init__(self, packaged: Scorer) -> None:
        """Serve the packaged scorer, whose contract every later one has to keep."""
        self.served = Served(packaged)
        self.promised: Contract = packaged.contract
