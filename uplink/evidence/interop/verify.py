#!/usr/bin/python3
"""Checks a .tally bundle from SPEC.md alone, with python3-cbor2 and
python3-cryptography:  verify.py FILE ed25519:BASE64URL

Prints one JSON object: how many leaves, windows and values it holds, the root
over all leaves, and the sum of all samples. Exits 1 with one line on stderr
at the first thing that does not hold."""

import base64
import hashlib
import io
import json
import sys

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def need(condition, what):
    if not condition:
        raise ValueError(what)


def sha256(b):
    return hashlib.sha256(b).digest()


def open_leaf(sign1, key):
    """Section 3: returns the payload bytes."""
    msg = cbor2.loads(sign1)
    need(isinstance(msg, cbor2.CBORTag) and msg.tag == 18, "no COSE_Sign1")
    protected, unprotected, payload, signature = msg.value
    need(cbor2.loads(protected) in ({1: -8}, {1: -19}) and unprotected == {}, "headers")
    key.verify(signature, cbor2.dumps(["Signature1", protected, b"", payload]))
    return payload


class Tree:
    """Section 7: the compact range, as [(size, hash)], largest first."""

    def __init__(self, anchor=(0, [])):
        n, hashes = anchor
        sizes = [1 << b for b in reversed(range(n.bit_length())) if n >> b & 1]
        need(len(sizes) == len(hashes), "anchor")
        self.parts = list(zip(sizes, hashes))

    def add(self, payload):
        self.parts.append((1, sha256(b"\0" + payload)))
        while len(self.parts) > 1 and self.parts[-1][0] == self.parts[-2][0]:
            (a, left), (b, right) = self.parts[-2:]
            self.parts[-2:] = [(a + b, sha256(b"\1" + left + right))]

    def root(self):
        if not self.parts:
            return sha256(b"")
        h = self.parts[-1][1]
        for _, left in reversed(self.parts[:-1]):
            h = sha256(b"\1" + left + h)
        return h


def uvarint(f):
    value = shift = 0
    while True:
        byte = f.read(1)[0]
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value


def read_block(block, channel, seq, meters):
    """Section 6: returns (number of values, their sum)."""
    salt, ch, s, body = cbor2.loads(block)
    need(len(salt) == 16 and ch == channel and s == seq, "block header")
    f = io.BytesIO(body)
    if channel == 10:
        return read_frames(f, meters)
    codes = {}
    for _ in range(uvarint(f)):
        meter, column, first, count, code = (uvarint(f) for _ in range(5))
        columns = range(len(meters[meter][1])) if column == 0 else [column - 1]
        for c in columns:
            for slot in range(first, first + count):
                codes[meter, c, slot] = code
    values = total = 0
    for m, (_, columns) in enumerate(meters):
        slots = uvarint(f)
        for c in range(len(columns)):
            sample = 0
            for slot in range(slots):
                if codes.get((m, c, slot), 0) in (0, 1, 10, 11, 12, 13):
                    z = uvarint(f)
                    sample += (z >> 1) ^ -(z & 1)
                    values += 1
                    total += sample
    need(f.read() == b"", "trailing bytes in block")
    return values, total


def read_frames(f, meters):
    """Section 6.2: no values, but every byte of the block is accounted for."""
    for _ in meters:
        for _ in range(uvarint(f)):
            uvarint(f), uvarint(f)  # at, took
            for _ in ("request", "reply"):
                n = uvarint(f)
                need(n <= 65536 and len(f.read(n)) == n, "message in raw frames")
        uvarint(f)  # dropped
    need(f.read() == b"", "trailing bytes in raw frames")
    return 0, 0


def main(path, text):
    key = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(text.removeprefix("ed25519:") + "="))
    out = {"leaves": 0, "windows": 0, "values": 0, "sum": 0, "events": 0}
    with open(path, "rb") as f:
        items = cbor2.CBORDecoder(f)
        head = cbor2.loads(items.decode())
        need(head[1] == "tally" and head[2] == 1, "not a bundle of version 1")
        genesis = open_leaf(head[7], key)
        need(sha256(genesis)[:16] == head[3], "log id")
        dictionary = cbor2.loads(open_leaf(head[8], key))
        tree, n, seqs = Tree(head.get(6, (0, []))), head[4], {}
        in_force = (dictionary[3], dictionary[23])
        while n <= head[5]:
            sign1, blocks = cbor2.loads(items.decode())[:2]
            payload = open_leaf(sign1, key)
            leaf = cbor2.loads(payload)
            need(leaf[3] == n and leaf.get(2, head[3]) == head[3], "index or log of leaf %d" % n)
            need(leaf[4] == tree.root(), "history root of leaf %d" % n)
            if 23 in leaf:
                in_force = (n, leaf[23])
            if leaf[1] == 1:
                need(leaf[11] == in_force[0], "dictionary of leaf %d" % n)
                need(sorted(leaf[8]) == sorted(in_force[1][1]), "channels of leaf %d" % n)
                out["windows"] += 1
            if leaf[1] == 11:
                need(1 <= len(leaf[50]) <= 256, "number of events in leaf %d" % n)
                for at, kind, subject, quantity, count in leaf[50]:
                    need(0 <= at <= 1 << 52 and kind and count >= 1, "event in leaf %d" % n)
                    out["events"] += count
            for channel, (seq, digest) in leaf.get(8, {}).items():
                need(seqs.get(channel, seq) == seq, "sequence of channel %d" % channel)
                seqs[channel] = seq + 1
                if channel in blocks:
                    need(sha256(blocks[channel]) == digest, "digest of leaf %d channel %d" % (n, channel))
                    values, total = read_block(blocks[channel], channel, seq, in_force[1][1][channel])
                    out["values"] += values
                    out["sum"] += total
            need(set(blocks) <= set(leaf.get(8, {})), "a block that is not signed")
            tree.add(payload)
            out["leaves"] += 1
            n += 1
        need(f.read() == b"", "trailing bytes")
    out["root"] = tree.root().hex()
    print(json.dumps(out))


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2])
    except Exception as e:  # whatever it is, the file is not good
        sys.exit("not verified: %s: %s" % (type(e).__name__, e))
