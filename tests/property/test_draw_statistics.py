"""Many draws as one sample: turns are uniform, and independent of everything that a participant can
choose.

Everything is computed from fixed seeds, so that a result never changes. A fair draw crosses a
threshold once in a million samples; each test also shows that its statistic finds a biased draw of
the same size.
"""

import base64
import hashlib
from itertools import pairwise
from math import sqrt
from statistics import fmean

import pytest

from gatekeeper.policy.draw import draw_secret, drawn_turn_us, seed_of

DRAWS, VISITORS, REPLICAS = 60, 1_000, 10
START_US = 1_796_115_600_000_000
SPAN_US = 1_800_000_000
CHI_SQUARE_99 = 181.0  # 99 degrees of freedom, one in a million (Wilson and Hilferty)
KOLMOGOROV = 2.69  # of sqrt(n) * D, one in a million: sqrt(ln(2e6) / 2)
NORMAL = 4.9  # standard deviations, two-sided, one in a million


def visitor_id(number: int) -> str:
    """A visitor id in the format of the gate: 128 bits in base64url."""
    digest = hashlib.sha256(b"visitor %d" % number).digest()[:16]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


IDS = [visitor_id(number) for number in range(VISITORS)]  # in order of arrival


@pytest.fixture(scope="module")
def draws() -> list[list[float]]:
    """For each draw the turns in order of arrival, as shares of the span: 0 ≤ share < 1."""
    return [draw(number) for number in range(DRAWS)]


def draw(number: int) -> list[float]:
    secret = draw_secret(b"s" * 32, room="default", event=f"sale-{number}", announced_us=START_US)
    randomness = hashlib.sha256(b"round %d" % number).digest() if number % 2 else b""
    seed = seed_of(secret, randomness)
    turns = [drawn_turn_us(seed, visitor, start_us=START_US, span_us=SPAN_US) for visitor in IDS]
    return [(turn - START_US + SPAN_US) / SPAN_US for turn in turns]


def chi_square(shares: list[float], bins: int = 100) -> float:
    counts = [0] * bins
    for share in shares:
        counts[int(share * bins)] += 1
    expected = len(shares) / bins
    return sum((count - expected) ** 2 / expected for count in counts)


def kolmogorov(shares: list[float]) -> float:
    """sqrt(n) times the largest distance to the uniform distribution."""
    n = len(shares)
    ordered = sorted(shares)
    below = max((k + 1) / n - share for k, share in enumerate(ordered))
    above = max(share - k / n for k, share in enumerate(ordered))
    return sqrt(n) * max(below, above)


def correlation(xs: list[float], ys: list[float]) -> float:
    """Pearson's, times sqrt(n): about normal with deviation 1 where the two are independent."""
    mean_x, mean_y = fmean(xs), fmean(ys)
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    square_x = sum((x - mean_x) ** 2 for x in xs)
    square_y = sum((y - mean_y) ** 2 for y in ys)
    return sqrt(len(xs)) * covariance / sqrt(square_x * square_y)


def standard_mean(shares: list[float]) -> float:
    """How many deviations the mean of uniform shares is from a half."""
    return (fmean(shares) - 0.5) * sqrt(12 * len(shares))


def tilted(shares: list[float], causes: list[float]) -> list[float]:
    """The shares of a draw that favours small values of `causes` by a twentieth."""
    return [0.95 * share + 0.05 * cause for share, cause in zip(shares, causes, strict=True)]


ARRIVALS = [number / VISITORS for number in range(VISITORS)]
BY_ID = sorted(IDS)
ID_RANKS = [BY_ID.index(visitor) / VISITORS for visitor in IDS]


def test_turns_of_many_draws_are_uniform(draws: list[list[float]]) -> None:
    shares = [share for each in draws for share in each]
    assert chi_square(shares) < CHI_SQUARE_99
    assert kolmogorov(shares) < KOLMOGOROV
    bent = [share**1.05 for share in shares]
    assert chi_square(bent) > CHI_SQUARE_99
    assert kolmogorov(bent) > KOLMOGOROV


def test_turns_of_each_draw_are_uniform(draws: list[list[float]]) -> None:
    assert max(kolmogorov(shares) for shares in draws) < KOLMOGOROV
    assert min(kolmogorov([share**1.4 for share in shares]) for shares in draws) > KOLMOGOROV


@pytest.mark.parametrize("causes", [ARRIVALS, ID_RANKS], ids=["arrival", "id"])
def test_turn_depends_on_neither_arrival_nor_id(
    draws: list[list[float]], causes: list[float]
) -> None:
    """Neither an early arrival nor the choice of a visitor id changes the turn."""
    every_cause = causes * DRAWS
    shares = [share for each in draws for share in each]
    assert abs(correlation(every_cause, shares)) < NORMAL
    assert abs(correlation(every_cause, tilted(shares, every_cause))) > NORMAL


def test_turn_does_not_depend_on_the_replica(draws: list[list[float]]) -> None:
    """Visitors use the replicas in turn; the mean turn of each replica's visitors is the middle."""
    for replica in range(REPLICAS):
        shares = [share for each in draws for share in each[replica::REPLICAS]]
        assert abs(standard_mean(shares)) < NORMAL
        assert abs(standard_mean([0.95 * share for share in shares])) > NORMAL


def test_turn_of_one_visitor_is_uniform_over_draws(draws: list[list[float]]) -> None:
    """No visitor id has an advantage: it has another turn in each draw."""
    for number in range(VISITORS):
        own = [each[number] for each in draws]
        assert kolmogorov(own) < KOLMOGOROV
        assert kolmogorov([share / 2 for share in own]) > KOLMOGOROV


def test_turns_of_two_draws_are_independent(draws: list[list[float]]) -> None:
    for one, two in pairwise(draws):
        assert abs(correlation(one, two)) < NORMAL
        assert abs(correlation(one, tilted(two, [4 * share for share in one]))) > NORMAL


def test_visitors_with_successive_turns_arrived_apart(draws: list[list[float]]) -> None:
    """Tabs and devices that join together have unrelated turns."""
    for shares in draws:
        assert abs(correlation(shares[:-1], shares[1:])) < NORMAL
    together = [(share + other) / 2 for share, other in pairwise(draws[0])]
    assert abs(correlation(together[:-1], together[1:])) > NORMAL
