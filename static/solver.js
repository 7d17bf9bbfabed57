/* A worker: finds the number of a challenge, SHA-256(salt + number), on the ALTCHA protocol.

   It gets { salt, challenge, first, most } and sends { next } a few times a second, then { number },
   or { number: null } if no number from `first` to `most` fits. The gate's salts are short, so salt
   and number are one block of SHA-256 (FIPS 180-4), of which only the digits change. The browser's
   own crypto.subtle takes several times as long for so short a text, and exists only with TLS. */
"use strict";

const REPORT_EVERY = 0x4000;  // numbers between two looks at the clock
const REPORT_MS = 250;
const ZERO = 48, NINE = 57;

/* The first 32 bits of the fractional parts of roots of the first primes (section 4.2.2). */
function roots(count, power) {
  const found = [];
  for (let number = 2; found.length < count; number += 1) {
    let isPrime = true;
    for (let factor = 2; factor * factor <= number; factor += 1) if (number % factor === 0) isPrime = false;
    if (isPrime) found.push((Math.pow(number, power) % 1) * 0x100000000 | 0);
  }
  return new Int32Array(found);
}

const K = roots(64, 1 / 3);
const START = roots(8, 1 / 2);
const words = new Int32Array(64);
const hash = new Int32Array(8);

/* The hash of the block in the first 16 of `words`. */
function compress() {
  for (let at = 16; at < 64; at += 1) {
    const x = words[at - 15], y = words[at - 2];
    words[at] = words[at - 16] + words[at - 7] +
      ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) +
      ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10) | 0;
  }
  let a = START[0], b = START[1], c = START[2], d = START[3];
  let e = START[4], f = START[5], g = START[6], h = START[7];
  for (let at = 0; at < 64; at += 1) {
    const t1 = h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) +
      (e & f ^ ~e & g) + K[at] + words[at] | 0;
    const t2 = ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) +
      (a & b ^ a & c ^ b & c) | 0;
    h = g; g = f; f = e; e = d + t1 | 0;
    d = c; c = b; b = a; a = t1 + t2 | 0;
  }
  hash[0] = START[0] + a; hash[1] = START[1] + b; hash[2] = START[2] + c; hash[3] = START[3] + d;
  hash[4] = START[4] + e; hash[5] = START[5] + f; hash[6] = START[6] + g; hash[7] = START[7] + h;
}

/* Calls `report` with the next number now and then; returns the number, or null. */
function solve({ salt, challenge, first, most }, report) {
  const wanted = new Int32Array(8).map((_, at) => parseInt(challenge.substr(8 * at, 8), 16));
  const block = new Uint8Array(64);
  const view = new DataView(block.buffer);
  let length = 0;
  let reportedAt = Date.now();

  function fill(number) {
    const text = salt + number;
    length = text.length;
    if (length > 55) throw new Error("a longer salt than the gate's");
    block.fill(0);
    for (let at = 0; at < length; at += 1) block[at] = text.charCodeAt(at);
    block[length] = 0x80;
    view.setUint32(60, 8 * length);
    for (let at = 0; at < 16; at += 1) words[at] = view.getInt32(4 * at);
  }

  fill(first);
  for (let number = first; number <= most; number += 1) {
    compress();
    if (hash[0] === wanted[0] && hash.every((word, at) => word === wanted[at])) return number;
    let at = length - 1;
    while (at >= salt.length && block[at] === NINE) block[at--] = ZERO;
    if (at < salt.length) {
      fill(number + 1);
    } else {
      block[at] += 1;
      for (let word = at >> 2; word <= length - 1 >> 2; word += 1) words[word] = view.getInt32(4 * word);
    }
    if (number % REPORT_EVERY === 0 && Date.now() - reportedAt >= REPORT_MS) {
      reportedAt = Date.now();
      report(number + 1);
    }
  }
  return null;
}

self.onmessage = (event) => {
  self.postMessage({ number: solve(event.data, (next) => self.postMessage({ next })) });
};
