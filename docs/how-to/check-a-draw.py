"""Checks a draw with Python alone: python3 check-a-draw.py RECORD PARTICIPANTS [NUMBER]

RECORD and PARTICIPANTS are addresses or files. NUMBER is the number on your page ("id_hash").
"""

import hashlib
import hmac
import json
import sys
from urllib.request import urlopen


def read(source):
    return urlopen(source, timeout=60).read() if "://" in source else open(source, "rb").read()


def check(is_right, what):
    print("ok   " if is_right else "WRONG", what)
    return is_right


def turn(number):
    digest = hmac.new(seed, bytes.fromhex(number), hashlib.sha256).digest()
    return first_turn + int.from_bytes(digest, "big") % record["span_us"]


record = json.loads(read(sys.argv[1]))
numbers = read(sys.argv[2]).decode().split()
if record["state"] != "drawn":
    sys.exit("not drawn yet; note the commitment: " + record["commitment"])

secret = bytes.fromhex(record["secret"])
seed, first_turn = secret, record["start_us"] - record["span_us"]
if record["beacon"]:
    seed = hashlib.sha256(secret + bytes.fromhex(record["beacon"]["randomness"])).digest()
    print("compare {randomness} with {url}, round {round}".format(**record["beacon"]))
results = [
    check(hashlib.sha256(secret).hexdigest() == record["commitment"], "secret and commitment"),
    check(numbers == sorted(set(numbers)), "participants: sorted, each once"),
    check(len(numbers) == record["participants"], f"participants: {len(numbers)}"),
]
if len(sys.argv) > 3 and check(sys.argv[3] in numbers, "you took part"):
    ahead = sum(turn(other) < turn(sys.argv[3]) for other in numbers)
    print(f"your turn is {turn(sys.argv[3])}: place {ahead + 1} of {len(numbers)}")
sys.exit(not all(results) or (len(sys.argv) > 3 and sys.argv[3] not in numbers))
