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


def turn(line):
    number, _, lane = line.partition(" ")
    first, span = spans[lane]
    digest = hmac.new(seed, bytes.fromhex(number), hashlib.sha256).digest()
    return first + int.from_bytes(digest, "big") % span


record = json.loads(read(sys.argv[1]))
lines = [line for line in read(sys.argv[2]).decode().split("\n") if line]
if record["state"] != "drawn":
    sys.exit("not drawn yet; note the commitment: " + record["commitment"])

seed = secret = bytes.fromhex(record["secret"])
spans = {lane["name"]: (lane["first_us"], lane["span_us"]) for lane in record.get("lanes", ())}
spans[""] = record["start_us"] - record["span_us"], record["span_us"]
if record["beacon"]:
    seed = hashlib.sha256(secret + bytes.fromhex(record["beacon"]["randomness"])).digest()
    print("compare {randomness} with {url}, round {round}".format(**record["beacon"]))
numbers = [line[:64] for line in lines]
mine = [line for line in lines if line[:64] == "".join(sys.argv[3:])]
results = [
    check(hashlib.sha256(secret).hexdigest() == record["commitment"], "secret and commitment"),
    check(numbers == sorted(set(numbers)), "participants: sorted, each once"),
    check(all(line[65:] in spans for line in lines), "participants: every lane is in the record"),
    check(len(numbers) == record["participants"], f"participants: {len(numbers)}"),
    len(sys.argv) < 4 or check(len(mine) == 1, "you took part"),
]
if mine and all(results):
    place = 1 + sum(turn(line) < turn(mine[0]) for line in lines)
    print(f"your turn is {turn(mine[0])}: place {place} of {len(lines)}")
sys.exit(not all(results))
