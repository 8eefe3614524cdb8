"""Requests that no run can fulfil, by the key that people try, each with the nearest way to it."""

import re

_WISHES = {
    "multi-?_?labels?|labels|targets|outputs|multi-?_?(output|target|task).*": "several labels are not supported: a "
    "run predicts one column; make a run file for each of them, with the others in data.exclude",
    "quantiles?.*|.*prediction_intervals?|pinball.*": "quantiles are not supported: a regression predicts the mean; "
    "predict whether the label is above a threshold (classes) for each threshold that matters",
    "monoton.*": "monotone constraints are not supported; write a family of your own whose build(hp) holds them "
    "(docs/how-to/own-family.md)",
    "survival.*|censor.*|hazard.*|time_to_event|cox.*": "survival models, which know censored rows, are not supported "
    "here; predict whether the event happens within a fixed time, on rows that were watched for that long",
    "rank(ing)?|learning_to_rank": "ranking is not supported; predict a grade or a click for each row, and sort by it",
}
_COMPILED = [(re.compile(pattern), sentence) for pattern, sentence in _WISHES.items()]


def unsupported(wish: object) -> str:
    """Return the sentence about a key or a value that asks for something that no run can do; empty for any other."""
    if isinstance(wish, str):
        return next((sentence for pattern, sentence in _COMPILED if pattern.fullmatch(wish.lower().strip())), "")
    return ""
