"""The base class of the records in reports."""

import json
from typing import Any, Self

from pydantic import ConfigDict

from handler.scoring.fields import Frozen
from training.run.files import rounded_floats


class ReportRecord(Frozen):
    """A frozen record; its fields, in their order, are the keys of a JSON file."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    def content(self) -> dict[str, Any]:
        """What a JSON file holds of it; fields that were not set are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def rounded(self) -> Self:
        """The record as it is read back from its JSON file, with rounded floats."""
        return self.model_validate_json(json.dumps(rounded_floats(self.content())))
