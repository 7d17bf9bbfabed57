"""The whole table by name, for the tests that run all of it."""

from tests.conformance.answer_cases import BAD, GOOD
from tests.conformance.cases import PIPELINES, REQUESTS, Case

_CHAPTERS = {
    "request": REQUESTS,
    "pipeline": PIPELINES,
    "answer": GOOD,
    "broken answer": BAD,
}
TABLE: dict[str, Case] = {
    f"{chapter}: {name}": case
    for chapter, cases in _CHAPTERS.items()
    for name, case in cases.items()
}
