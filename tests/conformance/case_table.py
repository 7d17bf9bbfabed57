"""All cases by name, for the tests that run each of them."""

from tests.conformance.request_cases import PIPELINES, REQUESTS, Case
from tests.conformance.response_cases import BAD, GOOD

_CHAPTERS = {
    "request": REQUESTS,
    "pipeline": PIPELINES,
    "response": GOOD,
    "malformed response": BAD,
}
CASES_BY_NAME: dict[str, Case] = {
    f"{chapter}: {name}": case
    for chapter, cases in _CHAPTERS.items()
    for name, case in cases.items()
}
