"""The text categoriser, applied."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.scoring.categoriser import categoriser, ngrams
from handler.scoring.scorer import Scorer

LEARNED = {
    "categories": ["Clothing", "Food"],
    "base": [-500, -500],
    "weights": {" te": [0, 300, 1, 300], "tee": [0, 300], "ea ": [1, 300], "tea": [1, 300]},
    "min_known": 0.3,
    "min_lead": 50,
}


def test_ngrams_pad_words_and_skip_digits() -> None:
    """N-grams have three or four characters, include a space at each end of a word, and occur once."""
    assert ngrams("Tea 500g tea") == [" te", "tea", "ea ", " tea", "tea ", " g "]


def test_the_best_category_wins() -> None:
    """Codes start at 1; the weights decide."""
    assert categoriser(LEARNED)("Tea") == 2


@pytest.mark.parametrize("text", ["", "12 345", "qqqq", "te"])
def test_a_text_without_a_clear_category_is_other(text: str) -> None:
    """Unknown letters, no letters, or no clear lead: code 0."""
    assert categoriser(LEARNED)(text) == 0


@given(text=st.text(max_size=60))
def test_any_text_has_a_code(refund: Scorer, text: str) -> None:
    """No text raises, and every code has a label."""
    request = refund.request_model.model_construct(years_active=1.0, amount=1.0, ip_accounts=1, refunds=None, item=text)
    code = refund.vector(request)[4]
    assert refund.bundle.features.display(4, code) is not None
