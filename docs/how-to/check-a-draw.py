"""Checks a draw with Python alone: python3 check-a-draw.py RECORD PARTICIPANTS [NUMBER]

RECORD and PARTICIPANTS are addresses or files. NUMBER is the number on your page ("id_hash").
"""

import hashlib
import hmac
import json
import re
import sys
from itertools import pairwise
from urllib.request import urlopen


def read(source):
    return urlopen(source, timeout=60).read() if "://" in source else open(source, "rb").read()


def check(is_right, what):
    print("ok   " if is_right else "WRONG", what)
    return is_right


def turn(line):
    first, span = spans.get(line[65:], (begin, record["span_us"]))
    digest = hmac.new(seed, bytes.fromhex(line[:64]), hashlib.sha256).digest()
    return first + int.from_bytes(digest, "big") % span


record = json.loads(read(sys.argv[1]))
lines = [line for line in read(sys.argv[2]).decode().split("\n") if line]
if record["state"] != "drawn":
    sys.exit("not drawn yet; note the commitment: " + record["commitment"])

seed = secret = bytes.fromhex(record["secret"])
print("compare the commitment", record["commitment"], "with the one from before the opening")
if record["beacon"]:
    print("compare {randomness} with {url}, round {round}".format(**record["beacon"]))
    secret_and_round = secret + bytes.fromhex(record["beacon"]["randomness"])
    seed = hashlib.sha256(secret_and_round).digest() if len(secret_and_round) == 64 else b""
begin, lanes = record["start_us"] - record["span_us"], record.get("lanes") or []
spans = {lane["name"]: (lane["first_us"], lane["span_us"]) for lane in lanes}
ordered = [*sorted(set(spans.values())), (begin, record["span_us"]), (record["start_us"], 0)]
are_apart = all(
    type(first) is type(span) is int and span > 0 and first + span <= then
    for (first, span), (then, _) in pairwise(ordered)
)
is_listed = re.compile("[0-9a-f]{64}( [a-z0-9_-]+)?").fullmatch
numbers = [line[:64] for line in lines if is_listed(line)]
mine = [line for line in lines if line[:64] == "".join(sys.argv[3:])]
results = [
    check(hashlib.sha256(secret).hexdigest() == record["commitment"], "secret and commitment"),
    check(len(secret) == len(seed) == 32, "secret and randomness: 32 bytes"),
    check(numbers == sorted({line[:64] for line in lines}), "participants: each once"),
    check({line[65:] for line in lines} <= {"", *spans}, "participants: no unknown lane"),
    check(len(lines) == record["participants"], f"participants: {len(lines)}"),
    check("" not in spans and len(spans) == len(lanes), "lanes: each once"),
    check(are_apart, "lanes: apart, and before everyone else"),
    len(sys.argv) < 4 or check(len(mine) == 1, "you took part"),
]
if mine and all(results):
    place = 1 + sum(turn(line) < turn(mine[0]) for line in lines)
    print(f"your turn is {turn(mine[0])}: place {place} of {len(lines)}")
sys.exit(not all(results))
