#!/usr/bin/python3
"""A second verifier of Tallystick evidence, written from SPEC.md and the test
vectors alone. Section numbers are those of SPEC.md.

  verify.py FILE KEY                  checks a .tally bundle, prints a JSON summary
  verify.py --vectors DIR             runs every test vector, prints each mismatch
  verify.py --batch FILE              verdicts of many logs: each line of FILE is
        {"key": text, "meta": hex or null, "messages": [hex, ...]}, and optionally
        "received": [ms, ...] and "nonces": {hex: ms given out}, which add grades (13)
  verify.py --fraud A B KEY [META]    do two deliveries prove a fork?
  verify.py --fraud FILE KEY          the same of a fraud proof file (10.1)
  verify.py --continues OLD NEW KEY   does the log of bundle NEW continue that of OLD (3.2)?

KEY is the pinned key in its text form (15), of OLD where there are two. Exit status: 0
verified, no fork, or continued; 1 gaps or mismatches; 3 unreadable; 4 altered,
forked, wrong-key or not continued; 2 usage.

Needs Python 3.11, python3-cryptography and OpenSSL 3 (libcrypto.so.3).
"""

import base64
import bisect
import ctypes
import functools
import hashlib
import io
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

MAX64 = 2**64 - 1
MAX_TIME = 2**52  # ms
MAX_INDEX = 2**52  # of leaves, and the highest channel sequence


class Malformed(ValueError):
    """The input follows no form of this version."""


class Newer(Malformed):
    """A leaf type, version or suite of a later version."""


def need(condition, what):
    if not condition:
        raise Malformed(what)


# --- 2 Encoding: deterministic CBOR, strictly ---

MAX_DEPTH, MAX_ENTRIES = 8, 1024  # 14: of payloads and records


class Tag(tuple):
    """(number, value)"""


def decode(data, entries=MAX_ENTRIES):
    """The value of the one item that data is; no array or map of it has more than so many entries."""
    value, end = _item(data, 0, 0, entries)
    need(end == len(data), "trailing bytes")
    return value


def _head(data, at):
    """(major type, additional information, argument, next offset)"""
    need(at < len(data), "cut short")
    major, info = data[at] >> 5, data[at] & 31
    at += 1
    if info < 24:
        return major, info, info, at
    need(info < 28, "indefinite length or reserved head")
    size = 1 << (info - 24)
    need(at + size <= len(data), "cut short")
    argument = int.from_bytes(data[at : at + size], "big")
    least = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}[info]
    need(major == 7 or argument >= least, "head not the shortest")
    return major, info, argument, at + size


def _item(data, at, depth, entries):
    major, info, argument, at = _head(data, at)
    if major == 0:
        return argument, at
    if major == 1:
        need(argument < 2**63, "integer below -2^63")
        return -1 - argument, at
    if major in (2, 3):
        need(argument <= len(data) - at, "cut short")
        raw = bytes(data[at : at + argument])
        if major == 2:
            return raw, at + argument
        try:
            return raw.decode("utf-8"), at + argument
        except UnicodeDecodeError:
            raise Malformed("text that is not UTF-8") from None
    if major == 7:
        need(info in (20, 21, 22), "floating-point number or simple value")
        return {20: False, 21: True, 22: None}[info], at
    need(depth < MAX_DEPTH, "nested too deeply")
    if major == 6:
        need(argument == 18 and depth == 0, "tag %d" % argument)
        value, at = _item(data, at, depth + 1, entries)
        return Tag((argument, value)), at
    need(argument <= entries, "too many entries")
    if major == 4:
        array = []
        for _ in range(argument):
            value, at = _item(data, at, depth + 1, entries)
            array.append(value)
        return array, at
    pairs, last = {}, b""
    for _ in range(argument):
        start = at
        key, at = _item(data, at, depth + 1, entries)
        need(type(key) in (int, str, bytes), "map key")
        raw = bytes(data[start:at])
        need(raw > last, "map keys out of order")
        last = raw
        pairs[key], at = _item(data, at, depth + 1, entries)
    return pairs, at


def encode(value):
    """The one encoding of integers, strings, lists and maps with integer keys."""

    def head(major, argument):
        if argument < 24:
            return bytes([major << 5 | argument])
        size = 1 if argument < 1 << 8 else 2 if argument < 1 << 16 else 4 if argument < 1 << 32 else 8
        return bytes([major << 5 | 23 + size.bit_length()]) + argument.to_bytes(size, "big")

    match value:
        case int():
            return head(0, value) if value >= 0 else head(1, -1 - value)
        case bytes():
            return head(2, len(value)) + value
        case str():
            raw = value.encode()
            return head(3, len(raw)) + raw
        case list():
            return head(4, len(value)) + b"".join(map(encode, value))
        case dict():
            pairs = sorted((encode(k), encode(v)) for k, v in value.items())
            return head(5, len(pairs)) + b"".join(k + v for k, v in pairs)
    raise TypeError(value)


# The shapes of section 18. Each returns its argument, so that they nest.


def uint(value, low=0, high=MAX64):
    need(type(value) is int and low <= value <= high, "integer out of range")
    return value


def bstr(value, low, high=None):
    need(type(value) is bytes and low <= len(value) <= (low if high is None else high), "byte string")
    return value


def tstr(value, low=0, high=256):
    need(type(value) is str and low <= len(value.encode()) <= high, "text")
    return value


def array(value, low=0, high=MAX64):
    need(type(value) is list and low <= len(value) <= high, "array")
    return value


def mapping(value, required=None, optional=()):
    need(type(value) is dict, "map")
    if required is not None:
        need(set(required) <= set(value) <= set(required) | set(optional), "missing or surplus keys")
    return value


# --- 15 Suites ---


def sha256(data):
    return hashlib.sha256(data).digest()


def sm3(data):
    return hashlib.new("sm3", data).digest()


P256 = (
    2**256 - 2**224 + 2**192 + 2**96 - 1,
    0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
)
SM2P256 = (
    2**256 - 2**224 - 2**96 + 2**64 - 1,
    0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93,
    0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123,
)


def on_curve(raw, curve):
    """Is x ‖ y a point of y² = x³ - 3x + b?"""
    p, b, _ = curve
    x, y = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    return x < p and y < p and (y * y - (x * x * x - 3 * x + b)) % p == 0


def on_edwards(raw):
    """Does RFC 8032 section 5.1.3 decode raw to a point?"""
    p = 2**255 - 19
    y, sign = int.from_bytes(raw, "little") & 2**255 - 1, raw[31] >> 7
    d = -121665 * pow(121666, -1, p)
    x2 = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    return y < p and (pow(x2, (p - 1) // 2, p) == 1 or x2 == 0 and sign == 0)


def both(signature):
    return int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")


def verify_ed25519(raw, message, signature):
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
        return True
    except InvalidSignature:
        return False


def verify_p256(raw, message, signature):
    r, s = both(signature)
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + raw)
        key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
        return True
    except InvalidSignature:
        return False


def verify_es256(raw, message, signature):
    return both(signature)[1] <= P256[2] // 2 and verify_p256(raw, message, signature)


SM2_USER = "1234567812345678"


@functools.cache
def libcrypto():
    lib = ctypes.CDLL("libcrypto.so.3")
    p, size, buf = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    for name, result, *arguments in (
        ("d2i_PUBKEY", p, p, p, ctypes.c_long),
        ("EVP_PKEY_free", None, p),
        ("EVP_PKEY_CTX_new", p, p, p),
        ("EVP_PKEY_CTX_free", None, p),
        ("EVP_PKEY_CTX_set1_id", ctypes.c_int, p, buf, ctypes.c_int),
        ("EVP_MD_CTX_new", p),
        ("EVP_MD_CTX_free", None, p),
        ("EVP_MD_CTX_set_pkey_ctx", None, p, p),
        ("EVP_sm3", p),
        ("EVP_DigestVerifyInit", ctypes.c_int, p, p, p, p, p),
        ("EVP_DigestVerify", ctypes.c_int, p, buf, size, buf, size),
        ("ERR_clear_error", None),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def verify_sm2(raw, message, signature):
    lib = libcrypto()
    # SubjectPublicKeyInfo: id-ecPublicKey, curve 1.2.156.10197.1.301.
    der = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004") + raw
    at = ctypes.cast(ctypes.c_char_p(der), ctypes.c_void_p)
    key = lib.d2i_PUBKEY(None, ctypes.byref(at), len(der))
    pctx, mctx = lib.EVP_PKEY_CTX_new(key, None), lib.EVP_MD_CTX_new()
    try:
        if not (key and pctx and mctx and lib.EVP_PKEY_CTX_set1_id(pctx, SM2_USER.encode(), len(SM2_USER)) == 1):
            raise RuntimeError("libcrypto does not do SM2")
        lib.EVP_MD_CTX_set_pkey_ctx(mctx, pctx)
        if lib.EVP_DigestVerifyInit(mctx, None, lib.EVP_sm3(), None, key) != 1:
            raise RuntimeError("libcrypto does not do SM2 with SM3")
        rs = utils.encode_dss_signature(*both(signature))
        return lib.EVP_DigestVerify(mctx, rs, len(rs), message, len(message)) == 1
    finally:
        lib.EVP_MD_CTX_free(mctx)
        lib.EVP_PKEY_CTX_free(pctx)
        lib.EVP_PKEY_free(key)
        lib.ERR_clear_error()


class Suite:
    def __init__(self, number, name, hash, algorithms, size, valid, verify):
        self.number, self.name, self.hash, self.algorithms = number, name, hash, algorithms
        self.size, self.valid, self.verify = size, valid, verify


SUITES = {
    s.number: s
    for s in (
        Suite(1, "ed25519", sha256, (-8, -19), 32, on_edwards, verify_ed25519),
        Suite(2, "es256", sha256, (-7, -9), 64, lambda raw: on_curve(raw, P256), verify_es256),
        Suite(3, "sm2", sm3, (-65800,), 64, lambda raw: on_curve(raw, SM2P256), verify_sm2),
    )
}
HEADERS = {encode({1: a}): s for s in SUITES.values() for a in s.algorithms}


def suite_of(algorithm):
    for s in SUITES.values():
        if algorithm in s.algorithms:
            return s
    raise Malformed("unknown algorithm")


class Key:
    """A public key of a suite."""

    def __init__(self, suite, raw):
        need(len(raw) == suite.size and any(raw) and suite.valid(raw), "public key")
        self.suite, self.raw = suite, raw

    @classmethod
    def parse(cls, text):
        name, _, rest = text.partition(":")
        for suite in SUITES.values():
            if suite.name == name:
                raw = base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4))
                need(base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == rest, "base64url")
                return cls(suite, raw)
        raise Malformed("unknown kind of key")

    def __eq__(self, other):
        return self.suite is other.suite and self.raw == other.raw

    def signed(self, message):
        return message.suite is self.suite and self.suite.verify(self.raw, message.signed, message.signature)


# --- 3 Signed leaf (and receipt) ---


class Sign1:
    """A COSE_Sign1: suite, payload, signature, signed (the Sig_structure)."""

    def __init__(self, data):
        outer = decode(data)
        need(type(outer) is Tag and outer[0] == 18, "not a COSE_Sign1")
        protected, unprotected, self.payload, self.signature = array(outer[1], 4, 4)
        need(bstr(protected, 0, 64) in HEADERS, "protected header")
        need(unprotected == {}, "unprotected header")
        bstr(self.payload, 0, 1 << 18)
        bstr(self.signature, 64)
        self.suite = HEADERS[protected]
        self.signed = encode(["Signature1", protected, b"", self.payload])


# --- 4 Leaf payload, 5 Dictionary ---

GENESIS, WINDOW, BOOT, SHUTDOWN, CONFIG, LOSS, STEP, ROTATION = range(8)
EVENTS, WITNESSED, COUNTER = 11, 12, 15
RECORDS = (8, 9, 10, 13, 14)
FRAMES_CHANNEL, RECORD_CHANNEL = 10, 11
KEYS = {  # 18: type -> (required, optional) besides keys 1 to 7
    GENESIS: ({20, 21, 22, 23, 24}, {25, 26, 27}),
    WINDOW: ({8, 9, 11}, {10}),
    BOOT: ({30, 31, 32}, ()),
    SHUTDOWN: ({33}, ()),
    CONFIG: ({23, 24}, ()),
    LOSS: ({40}, ()),
    STEP: ({34}, ()),
    ROTATION: ({22, 26}, ()),
    EVENTS: ({50}, ()),
    WITNESSED: ({60}, ()),
    COUNTER: ({61}, ()),
} | {t: ({8}, ()) for t in RECORDS}


class Record:
    """A key record (22) with the commitment to its successor: None for none."""

    def __init__(self, value, successor):
        mapping(value, {1, 2, 3}, {4, 5})
        need(type(value[1]) is int, "algorithm")
        suite = suite_of(value[1])
        self.key = Key(suite, bstr(value[2], suite.size))
        tstr(value[3])
        need(value.get(4) == (SM2_USER if suite.number == 3 else None), "user id")
        self.attestation = value.get(5)
        if 5 in value:
            need(on_curve(bstr(value[5], 64), P256), "attestation key")
        self.digest = suite.hash(encode(value))
        self.successor = successor


class Dictionary:
    """channels: {channel: [number of columns of each channel-meter]}"""

    def __init__(self, value):
        meters, channels = array(value, 2, 2)
        for meter in array(meters, 0, 1024):
            mapping(meter, {1, 2, 3, 4, 5})
            tstr(meter[1], 1), tstr(meter[2]), uint(meter[3], 0, 2**31 - 1), bstr(meter[4], 32), uint(meter[5], 1, 2**32 - 1)
        self.channels = {}
        for channel, parts in mapping(channels).items():
            need(uint(channel, 0, 65535) != RECORD_CHANNEL, "channel of records in a dictionary")
            last, widths = -1, []
            for part in array(parts, 0, 1024):
                index, columns = array(part, 2, 2)
                last = uint(index, last + 1, len(meters) - 1)
                for column in array(columns, 1, 256):
                    quantity, unit, exp, coefficient, mul = array(column, 5, 5)
                    tstr(quantity, 1), tstr(unit), uint(exp, -128, 127), uint(coefficient, 1, 2**63 - 1), uint(mul, -128, 127)
                widths.append(len(columns))
            self.channels[channel] = widths


class Leaf:
    """A leaf of a form of this version; p is the payload map."""

    def __init__(self, data):
        self.sign1 = Sign1(data)
        self.hash = self.sign1.suite.hash(b"\0" + self.sign1.payload)
        self.p = p = mapping(decode(self.sign1.payload))
        self.type = uint(p.get(1))
        if self.type not in KEYS:
            raise Newer("leaf type %d" % self.type)
        if self.type == GENESIS:
            if uint(p.get(20)) != 1 or uint(p.get(21)) not in SUITES:
                raise Newer("version or suite")
            self.log = self.sign1.suite.hash(self.sign1.payload)[:16]
        required, optional = KEYS[self.type]
        mapping(p, required | {1, 3, 4, 5, 6, 7} | ({2} if self.type != GENESIS else set()), optional)
        if self.type != GENESIS:
            self.log = bstr(p[2], 16)
        self.n = uint(p[3], 0, MAX_INDEX)
        need((self.n == 0) == (self.type == GENESIS), "genesis is leaf 0")
        self.root = bstr(p[4], 32)
        need(self.n > 0 or self.root == self.sign1.suite.hash(b""), "root before genesis")
        start, duration = array(p[5], 2, 2)
        self.start, self.end = uint(start, 0, MAX_TIME), start + uint(duration, 0, 1 << 32)
        need(duration == 0 or self.type == WINDOW, "duration of an event")
        self.flag, error = array(p[6], 2, 2)
        need(self.flag in ("U", "I", "S", "R"), "clock flag")
        uint(error)
        self.boot, self.uptime = array(p[7], 2, 2)
        uint(self.boot), uint(self.uptime)
        self.blocks = {}
        if 8 in p:
            for channel, entry in mapping(p[8]).items():
                need((uint(channel, 0, 65535) == RECORD_CHANNEL) == (self.type != WINDOW), "channel of another leaf type")
                seq, digest = array(entry, 2, 2)
                self.blocks[channel] = (uint(seq, 0, MAX_INDEX), bstr(digest, 32))
            need(self.type == WINDOW or self.blocks, "record without a block")
        self.dictionary = Dictionary(p[23]) if 23 in p else None
        self.record = None
        if 22 in p:
            self.record = Record(p[22], bstr(p[26], 32) if 26 in p else None)
            need(self.record.key.suite is self.sign1.suite, "key of another suite")
        getattr(self, "_form_%d" % self.type, lambda p: None)(p)

    def _form_0(self, p):
        need(SUITES[p[21]] is self.sign1.suite, "suite")
        bstr(p[24], 32)
        if 25 in p:
            log, leaves, root, reason = array(p[25], 4, 4)
            bstr(log, 16), uint(leaves), bstr(root, 32), tstr(reason, 1)
        if 27 in p:
            bstr(p[27], 32)

    def _form_1(self, p):
        uint(p[9], 0, 1000), uint(p[11], 0, self.n - 1)
        if 10 in p:
            need(p[10] == sorted(set(bstr(b, 16) for b in array(p[10], 1, 64))), "beacon")

    def _form_2(self, p):
        need(type(p[30]) is bool, "clean")
        uint(p[31], 0, MAX_TIME), tstr(p[32])

    def _form_3(self, p):
        tstr(p[33])

    def _form_4(self, p):
        bstr(p[24], 32)

    def _form_5(self, p):
        last = -1
        for lost in array(p[40], 0, 1024):
            lo, hi, reason = array(lost, 3, 3)
            uint(lo, last + 1, self.n - 1)
            last = uint(hi, lo, self.n - 1)
            tstr(reason)

    def _form_6(self, p):
        for ms in array(p[34], 2, 2):
            uint(ms, 0, MAX_TIME)

    def _form_11(self, p):
        for event in array(p[50], 1, 256):
            at, kind, subject, quantity, count = array(event, 5, 5)
            uint(at, 0, MAX_TIME), tstr(kind, 1), tstr(subject), tstr(quantity), uint(count, 1)

    def _form_12(self, p):
        tstr(p[60], 1, 4096)

    def _form_15(self, p):
        handle, attestation, signature = array(p[61], 3, 3)
        self.handle = uint(handle, 0, 2**32 - 1)
        self.attestation, self.attested = bstr(attestation, 1, 1024), bstr(signature, 64)


# --- 4.4 Counter ---


def counter_value(leaf, record):
    """The TPM counter that a counter leaf attests."""
    need(record.attestation, "no attestation key")
    need(verify_p256(record.attestation, leaf.attestation, leaf.attested), "attestation signature")
    data, at = leaf.attestation, 0

    def take(count):
        nonlocal at
        need(at + count <= len(data), "attestation cut short")
        at += count
        return data[at - count : at]

    def sized():
        return take(int.from_bytes(take(2), "big"))

    need(take(4) == b"\xffTCG" and take(2) == b"\x80\x14", "not TPM_ST_ATTEST_NV")
    signer = sized()
    need(len(signer) == 34 and signer[:2] == b"\0\x0b", "name of the signer")
    need(sized() == leaf.root, "attests another root")
    take(16)  # clock, resets, restarts
    need(take(1) in (b"\0", b"\1"), "clock flag")
    take(8)  # firmware version
    public = leaf.handle.to_bytes(4, "big") + bytes.fromhex("000b2204001400000008")
    need(sized() == b"\0\x0b" + sha256(public), "another NV index")
    need(take(2) == b"\0\0", "offset")
    value = sized()
    need(len(value) == 8 and at == len(data), "contents")
    return int.from_bytes(value, "big")


# --- 6 Block ---

PRESENT = {0, 1, 10, 11, 12, 13}
MAX_SLOTS, MAX_SAMPLES = 3600, 262144


class Body:
    def __init__(self, data):
        self.data, self.at = data, 0

    def uvarint(self):
        value = shift = 0
        while True:
            need(self.at < len(self.data) and shift < 70, "number cut short or too long")
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                need((byte or shift == 7) and value <= MAX64, "number not in its shortest form")
                return value


def read_block(body, widths):
    """The present samples of a block, as (values, sum)."""
    f = Body(body)
    listed = []
    count = f.uvarint()
    need(count <= len(body), "count of exceptions")
    for _ in range(count):
        listed.append(tuple(f.uvarint() for _ in range(5)))
    codes = [[None] * width for width in widths]  # [meter][column] -> {slot: code}
    for meter, column, first, slots, code in listed:
        need(meter < len(widths) and column <= widths[meter], "exception out of place")
        need(1 <= slots <= MAX_SLOTS and first <= MAX_SLOTS - slots and 1 <= code <= 13, "exception")
        for c in range(widths[meter]) if column == 0 else (column - 1,):
            codes[meter][c] = codes[meter][c] or {}
            codes[meter][c].update(dict.fromkeys(range(first, first + slots), code))
    values = total = samples = 0
    canonical = []
    for meter, width in enumerate(widths):
        slots = f.uvarint()
        samples += slots * width
        need(slots <= MAX_SLOTS and samples <= MAX_SAMPLES, "too many samples")
        rows = [c or {} for c in codes[meter]]
        need(all(max(row, default=-1) < slots for row in rows), "exception behind the end")
        canonical += exceptions(meter, rows, slots)
        for row in rows:
            sample = 0
            for slot in range(slots):
                if row.get(slot, 0) in PRESENT:
                    z = f.uvarint()
                    sample = (sample + ((z >> 1) ^ -(z & 1)) + 2**63) % 2**64 - 2**63
                    values += 1
                    total += sample
    need(f.at == len(body), "trailing bytes")
    need(canonical == listed, "exceptions not in their one form")
    return values, total


def exceptions(meter, rows, slots):
    """The one list of exceptions of a meter; rows: {slot: code} for each column."""

    def runs(column, codes):
        out = []
        for slot, code in sorted(codes.items()):
            if out and out[-1][2] + out[-1][3] == slot and out[-1][4] == code:
                out[-1][3] += 1
            else:
                out.append([meter, column, slot, 1, code])
        return [tuple(run) for run in out]

    if not any(rows):
        return []
    whole = {s: c for s, c in rows[0].items() if all(row.get(s) == c for row in rows)}
    out = runs(0, whole)
    for c, row in enumerate(rows):
        out += runs(c + 1, {slot: code for slot, code in row.items() if slot not in whole})
    return out


MAX_FRAME, MAX_METER_FRAMES, MAX_FRAMES = 64 << 10, 1 << 20, 2 << 20


def read_frames(body, meters):
    """6.2: raw frames hold no samples, but every byte is accounted for."""
    f, total = Body(body), 0
    for _ in range(meters):
        count = f.uvarint()
        need(count <= len(body), "count of exchanges")
        start = f.at
        for _ in range(count):
            f.uvarint(), f.uvarint()  # at, took
            for _ in ("request", "reply"):
                length = f.uvarint()
                need(length <= min(MAX_FRAME, len(body) - f.at), "message")
                f.at += length
        total += f.at - start
        need(f.at - start <= MAX_METER_FRAMES and total <= MAX_FRAMES, "too many exchanges")
        f.uvarint()  # dropped
    need(f.at == len(body), "trailing bytes")


def lender_name(name):
    return 1 <= len(name) <= 32 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and name[0] != "-"


def read_record(body):
    need(len(body) <= 65536, "record too long")
    record = mapping(decode(body), {1, 2})
    need(type(record[1]) is str and (record[1] == "" or lender_name(record[1])), "lender")


# --- 7 History ---


class Tree:
    """The compact range of leaves 0..n-1: [(size, hash), ...], largest first."""

    def __init__(self, hash, n=0, parts=()):
        sizes = [1 << b for b in reversed(range(n.bit_length())) if n >> b & 1]
        need(len(sizes) == len(parts), "anchor")
        self.hash, self.n, self.parts = hash, n, list(zip(sizes, parts))

    def add(self, leaf_hash):
        self.n += 1
        self.parts.append((1, leaf_hash))
        while len(self.parts) > 1 and self.parts[-1][0] == self.parts[-2][0]:
            (a, left), (b, right) = self.parts[-2:]
            self.parts[-2:] = [(a + b, self.hash(b"\1" + left + right))]

    def root(self):
        if not self.parts:
            return self.hash(b"")
        root = self.parts[-1][1]
        for _, left in reversed(self.parts[:-1]):
            root = self.hash(b"\1" + left + root)
        return root

    def subtrees(self):
        """{(first leaf, size): hash}"""
        out, start = {}, 0
        for size, h in self.parts:
            out[start, size] = h
            start += size
        return out


def anchor_of(value):
    n, parts = array(value, 2, 2)
    for h in array(parts):
        bstr(h, 32)
    need(len(parts) == bin(uint(n)).count("1"), "anchor")
    return n, parts


# --- 8 Delivery ---


class Delivery:
    def __init__(self, data):
        need(len(data) <= 4 << 20, "delivery too long")
        items = array(decode(data, MAX64), 2, 3)
        self.leaf = Leaf(bstr(items[0], 0, MAX64))
        self.blocks = mapping(items[1])
        for channel, block in self.blocks.items():
            uint(channel, 0, 65535), bstr(block, 0, MAX64)
        self.anchor = anchor_of(items[2]) if len(items) == 3 else None
        need(self.anchor is None or self.anchor[0] == self.leaf.n, "anchor of another leaf")


# --- 12 Checks, 13 Grades ---

RANK = ["verified", "replayed", "gap", "wrong-key", "unreadable", "altered", "forked"]
MINUTE = 60_000


class Finding(Exception):
    """What ends the checks of a delivery: (verdict, reason)."""


class Result:
    """verdict, reason (that decided it), grade, and of accepted leaves: leaf, values, sum."""

    def __init__(self, found, grade="X", leaf=None, values=0, total=0):
        self.verdict, self.reason = max(found, key=lambda f: RANK.index(f[0]), default=("verified", ""))
        self.found, self.grade, self.leaf, self.values, self.sum = found, grade, leaf, values, total

    def __str__(self):
        return self.verdict + ("/" + self.reason if self.reason else "")


class Verifier:
    """Follows one log. Not forgetful: keeps every leaf hash it saw."""

    def __init__(self, key, nonces=None):
        self.pinned, self.hash = key, key.suite.hash
        self.nonces = nonces or {}  # answer (9.1) -> ms given out
        self.log = None
        self.records = [(0, None)]  # (first index signed, Record): None until a genesis is at hand
        self.next = None
        self.tree = Tree(self.hash)  # None while an unbridged gap is behind
        self.leaves = {}  # n -> leaf hash, of those received
        self.subtrees = {}  # (first leaf, size) -> hash, of those proven
        self.announced = {}  # n -> leaf hash, of the meta message
        self.dictionaries = {}  # n -> Dictionary
        self.dictionary_next = 0  # below this index no leaf holds a newer one than those
        self.sequences = {}  # channel -> (newest sequence, leaves missing before it)
        self.missing = 0  # leaves missing so far
        self.clock = None  # (boot, uptime) of the newest leaf
        self.restarted = self.jumped = False
        self.counter, self.booted = None, False
        self.window_end = 0
        self.answered = None  # newest nonce answered, as ms given out

    # Keys in force (3.1).

    def record(self, n):
        return self.records[bisect.bisect_right(self.records, n, key=lambda r: r[0]) - 1][1]

    def key(self, n):
        record = self.record(n)
        return record.key if record else self.pinned

    def adopt_genesis(self, leaf):
        self.log = leaf.log
        self.records[0] = (0, leaf.record)
        self.dictionaries[0] = leaf.dictionary

    def adopt_rotation(self, leaf):
        if leaf.n + 1 not in [r[0] for r in self.records]:
            bisect.insort(self.records, (leaf.n + 1, leaf.record), key=lambda r: r[0])

    def check_signature(self, leaf):
        if self.key(leaf.n).signed(leaf.sign1):
            return
        if leaf.log != self.log:
            raise Finding("wrong-key", "signed-by-other")
        older = [r[1].key if r[1] else self.pinned for r in self.records if r[0] <= leaf.n]
        if any(key.signed(leaf.sign1) for key in older):
            raise Finding("altered", "retired-key")
        newest = self.records[-1][1]
        if leaf.n > (self.next or 0) and (newest is None or newest.successor is not None):
            raise Finding("unreadable", "signature-or-rotation")
        raise Finding("altered", "signature")

    # 8: what the meta message, or the header of a bundle, says.

    def meta(self, data):
        leaves = array(decode(data, MAX64), 2, 2 + 1000)
        self.introduce([Leaf(bstr(leaf, 0, MAX64)) for leaf in leaves])

    def introduce(self, leaves):
        """Takes over a genesis, a dictionary and rotation leaves; raises Finding when they do not hold."""
        genesis, dictionary, *rotations = leaves
        need(genesis.type == GENESIS and dictionary.dictionary, "meta")
        need(all(r.type == ROTATION for r in rotations), "meta")
        need(all(a.n < b.n for a, b in zip(rotations, rotations[1:])), "rotations out of order")
        need(all(leaf.log == genesis.log for leaf in leaves), "leaves of two logs")
        if genesis.record.key != self.pinned:
            raise Finding("wrong-key", "key-not-pinned")
        fresh = Verifier(self.pinned, self.nonces)
        fresh.adopt_genesis(genesis)
        for leaf in [genesis, *rotations, dictionary]:
            fresh.check_signature(leaf)
            if leaf.type == ROTATION:
                if fresh.record(leaf.n).successor != leaf.record.digest:
                    raise Finding("forked", "rotation-uncommitted")
                fresh.adopt_rotation(leaf)
            fresh.announced[leaf.n] = leaf.hash
        fresh.dictionaries[dictionary.n] = dictionary.dictionary
        self.__dict__.update(fresh.__dict__)

    # 12.

    def add(self, message, received=None):
        """The Result of the next delivery. The first finding other than a gap ends the checks."""
        found = []
        try:
            return self.check(Delivery(message), found, received)
        except Newer:
            return Result([*found, ("unreadable", "newer-version")])
        except Malformed:
            return Result([*found, ("unreadable", "malformed")])
        except Finding as finding:
            return Result([*found, finding.args])

    def check(self, delivery, found, received):
        leaf = delivery.leaf
        if leaf.type == GENESIS and leaf.record.key != self.pinned:
            raise Finding("wrong-key", "key-not-pinned")
        self.check_signature(leaf)
        if self.log and leaf.log != self.log:
            raise Finding("wrong-key", "other-log")
        self.check_index(leaf)
        missing = leaf.n - (self.next or 0)
        if missing and self.next is not None:
            found.append(("gap", "missing"))
        tree = self.history(delivery, missing, found)
        if leaf.type == ROTATION:
            self.check_rotation(leaf, found)
        dictionary = self.dictionary_of(leaf, found)
        if dictionary:
            if set(dictionary.channels) - set(leaf.blocks):
                found.append(("gap", "channel-missing"))
            if set(leaf.blocks) - set(dictionary.channels):
                raise Finding("unreadable", "channel-unknown")
        for channel, (seq, _) in leaf.blocks.items():
            last, before = self.sequences.get(channel, (-1, 0))
            if not last + 1 <= seq <= last + 1 + self.missing + missing - before:
                found.append(("gap", "channel-sequence"))
        counter = None
        if leaf.type == COUNTER and (record := self.record(leaf.n)):
            try:
                counter = counter_value(leaf, record)
            except Malformed:
                raise Finding("unreadable", "counter") from None
        for channel, block in delivery.blocks.items():
            if channel not in leaf.blocks:
                raise Finding("altered", "block-unsigned")
            if self.hash(block) != leaf.blocks[channel][1]:
                raise Finding("altered", "block-digest")
        values = total = 0
        for channel, block in delivery.blocks.items():
            v, s = self.read(block, channel, leaf, dictionary)
            values, total = values + v, total + s
        self.commit(leaf, tree, missing, counter)
        if leaf.dictionary or dictionary or self.dictionary_next == leaf.n and self.dictionaries:
            self.dictionary_next = leaf.n + 1
        return Result(found, self.grade(leaf, received), leaf, values, total)

    def check_index(self, leaf):
        n = leaf.n
        known = self.announced.get(n, self.leaves.get(n))
        if known not in (None, leaf.hash):
            raise Finding("forked", "second-leaf")
        if self.next is not None and n < self.next:
            raise Finding("replayed", "replayed" if known else "replayed-unchecked")

    def history(self, delivery, missing, found):
        """The tree before this leaf: None when it is not known."""
        leaf = delivery.leaf
        if not missing and self.tree:
            if self.tree.root() != leaf.root:
                raise Finding("forked", "history-root")
            return self.tree
        if delivery.anchor is None:
            found.append(("gap", "history-unchecked"))
            return None
        tree = Tree(self.hash, *delivery.anchor)
        if tree.root() != leaf.root:
            found.append(("gap", "anchor-mismatch"))
            return None
        for (start, size), h in tree.subtrees().items():
            if self.subtree(start, size) not in (None, h):
                raise Finding("forked", "anchor-fork")
        return tree

    def check_rotation(self, leaf, found):
        record = self.record(leaf.n)
        if any(start == leaf.n + 1 for start, *_ in self.records):
            return  # announced, and compared with what was
        if self.records[-1][0] > leaf.n + 1:
            raise Finding("forked", "second-rotation")
        if record is None:
            found.append(("gap", "rotation-unchecked"))
        elif record.successor != leaf.record.digest:
            raise Finding("forked", "rotation-uncommitted")

    def subtree(self, start, size):
        """The hash of a subtree, where it is known."""
        if (start, size) in self.subtrees:
            return self.subtrees[start, size]
        if size == 1:
            return self.leaves.get(start)
        if start >= (self.next or 0):
            return None
        left, right = self.subtree(start, size // 2), self.subtree(start + size // 2, size // 2)
        return self.hash(b"\1" + left + right) if left and right else None

    def dictionary_of(self, leaf, found):
        if leaf.type != WINDOW:
            return None
        named, newest = leaf.p[11], max((n for n in self.dictionaries if n < leaf.n), default=None)
        if named == newest:
            return self.dictionaries[named]
        if named >= self.dictionary_next and (newest is None or named > newest) and named not in self.leaves:
            found.append(("gap", "dictionary-missing"))
        else:
            raise Finding("unreadable", "dictionary-index")
        return None

    def read(self, block, channel, leaf, dictionary):
        """(values, sum) of a block that is the one signed for."""
        try:
            salt, ch, seq, body = array(decode(block), 4, 4)
            bstr(salt, 16), uint(ch, 0, 65535), uint(seq), bstr(body, 0, MAX64)
            if (ch, seq) != (channel, leaf.blocks[channel][0]):
                raise Finding("unreadable", "block-header")
            if channel == RECORD_CHANNEL:
                read_record(body)
            elif dictionary and channel == FRAMES_CHANNEL:
                read_frames(body, len(dictionary.channels[channel]))
            elif dictionary:
                return read_block(body, dictionary.channels[channel])
        except Malformed:
            raise Finding("unreadable", "block-form") from None
        return 0, 0

    def commit(self, leaf, tree, missing, counter):
        n = leaf.n
        self.log = leaf.log
        self.missing += missing
        if leaf.type == GENESIS:
            self.adopt_genesis(leaf)
        if leaf.type == ROTATION:
            self.adopt_rotation(leaf)
        if leaf.dictionary:
            self.dictionaries[n] = leaf.dictionary
        for channel, (seq, _) in leaf.blocks.items():
            self.sequences[channel] = (seq, self.missing)
        if tree:
            self.subtrees.update(tree.subtrees())
            tree.add(leaf.hash)
        self.leaves[n] = leaf.hash
        self.tree, self.next = tree, n + 1
        if leaf.type == BOOT:
            self.restarted = self.clock is not None and leaf.boot < self.clock[0]
        elif self.clock and not missing and (leaf.boot != self.clock[0] or leaf.uptime < self.clock[1]):
            self.restarted = True
        self.clock = leaf.boot, leaf.uptime
        if missing:
            self.counter = None
        self.booted = self.booted or leaf.type == BOOT
        self.jumped = False
        if counter is not None:
            steps = (1, 2) if self.booted else (1,)
            self.jumped = self.counter is not None and counter - self.counter not in steps
            self.counter, self.booted = counter, False

    # 13.

    def grade(self, leaf, received):
        for answer in leaf.p.get(10, ()):
            if (given := self.nonces.get(answer)) is not None:
                self.answered = max(self.answered or 0, given)
        age = None if received is None else received - leaf.end
        fresh = None if self.answered is None else leaf.end - self.answered
        backwards = leaf.type == WINDOW and leaf.start < self.window_end
        if leaf.type == WINDOW:
            self.window_end = leaf.end
        if age is None or self.restarted or self.jumped or age > 7 * 24 * 60 * MINUTE:
            return "D"
        if age > 24 * 60 * MINUTE or age < -5 * MINUTE or leaf.flag in "UR" or backwards:
            return "C"
        if fresh is not None and fresh < -5 * MINUTE:
            return "C"
        return "A" if age <= 5 * MINUTE and fresh is not None and fresh <= 30 * MINUTE else "B"


# --- 9 Receipt ---


def receipt(data, key):
    """"ok", "signature" or "format"."""
    try:
        message = Sign1(data)
        p = mapping(decode(message.payload))
        mapping(p, {1, 4, 5, 6} | (set(p) & {2} and {2, 3}), {3, 7} if 2 in p else {7})
        bstr(p[1], 16), uint(p[5], 0, MAX_TIME), tstr(p[6])
        if 2 in p:
            uint(p[2]), bstr(p[3], 32)
        for channel, seq in mapping(p[4]).items():
            uint(channel, 0, 65535), uint(seq)
        if 7 in p:
            bstr(p[7], 16)
    except Malformed:
        return "format"
    return "ok" if key.signed(message) else "signature"


# --- 10 Bundle ---


class NotABundle(Malformed):
    pass


class CutShort(Malformed):
    pass


def items_of(read):
    """The byte strings that a file is a sequence of; read(n) as that of a file."""
    while first := read(1):
        info = first[0] & 31
        head = first + read(1 << (info - 24) if 24 <= info <= 27 else 0)
        try:
            major, _, length, _ = _head(head, 0)
        except Malformed as e:
            raise CutShort(str(e)) from None
        need(major == 2 and length <= 4 << 20, "not a byte string")
        item = read(length)
        if len(item) < length:
            raise CutShort("item cut short")
        yield item


def bundle(f, key, see=lambda result: None):
    """The summary of a .tally file; see is called with each result."""
    items = items_of(f.read)
    try:
        h = mapping(decode(next(items, b""), MAX64), {1, 2, 3, 4, 7, 8}, {5, 6, 9})
        need(h[1] == "tally", "magic")
    except Malformed as e:
        raise NotABundle(str(e)) from None
    out = {"verdict": "verified", "leaves": 0, "windows": 0, "values": 0, "sum": 0, "root": None, "gaps": 0, "events": 0}
    found = []
    verifier = Verifier(key)
    try:
        if uint(h[2]) != 1:
            raise Newer("bundle version")
        bstr(h[3], 16), uint(h[4]), uint(h.get(5, h[4]), h[4])
        need((6 in h) == (h[4] > 0), "anchor for lo")
        anchor = anchor_of(h[6]) if 6 in h else None
        need(anchor is None or anchor[0] == h[4], "anchor for lo")
        leaves = [Leaf(bstr(leaf, 0, MAX64)) for leaf in [h[7], h[8], *array(h.get(9, [b""]), 1, 1000)] if leaf != b""]
        verifier.introduce(leaves)
        need(verifier.log == h[3], "log id")
        for item in items:
            if anchor:
                parts = decode(item, MAX64)
                if type(parts) is list and len(parts) == 2:
                    item = encode([*parts, list(anchor)])
                anchor = None
            result = verifier.add(item)
            see(result)
            found += result.found
            if result.leaf is None:
                continue
            leaf = result.leaf
            if out["leaves"] == 0 and leaf.n > h[4]:
                found.append(("gap", "missing"))
            out["leaves"] += 1
            out["windows"] += leaf.type == WINDOW
            out["gaps"] += result.verdict == "gap"
            out["values"] += result.values
            out["sum"] += result.sum
            out["events"] += sum(event[4] for event in leaf.p.get(50, ()))
            if leaf.type == LOSS:
                found.append(("verified", "loss-declared"))
        end = max(verifier.next or 0, h[4])
        if end <= h.get(5, 0) or not out["leaves"]:
            found.append(("gap", "ends-early"))
        elif 5 in h and end > h[5] + 1:
            found.append(("unreadable", "beyond-end"))
    except Finding as finding:
        found.append(finding.args)
    except CutShort:
        found.append(("unreadable", "cut-short"))
    except Newer:
        found.append(("unreadable", "newer-version"))
    except Malformed:
        found.append(("unreadable", "malformed"))
    result = Result(found)
    out["verdict"], out["reason"] = result.verdict, result.reason
    out["reasons"] = sorted({"/".join(f) for f in found})
    if verifier.tree:
        out["root"] = verifier.tree.root().hex()
    return out


def encode_delivery(parts, anchor):
    return encode([parts[0], parts[1], [anchor[0], anchor[1]]])


# --- Proof of a fork (12) ---


def fork(first, second, verifier):
    """Why two deliveries of the log that verifier was introduced to cannot be of one history; None if they can."""
    parts = []
    for delivery in first, second:
        leaf = delivery.leaf
        if not verifier.key(leaf.n).signed(leaf.sign1) or verifier.log and leaf.log != verifier.log:
            return None
        seen, after = {(leaf.n, 1): leaf.hash}, None
        tree = Tree(verifier.hash, *delivery.anchor) if delivery.anchor else Tree(verifier.hash)
        if (leaf.n == 0 or delivery.anchor) and tree.root() == leaf.root:
            seen |= tree.subtrees()
            tree.add(leaf.hash)
            seen |= tree.subtrees()
            after = tree
        parts.append((leaf, seen, after))
    (a, seen_a, after_a), (b, seen_b, after_b) = parts
    if a.log != b.log:
        return None
    if a.n == b.n and a.hash != b.hash:
        return "two leaves %d" % a.n
    for x, after, y in (a, after_a, b), (b, after_b, a):
        if after and y.n == after.n and y.root != after.root():
            return "leaf %d has another root than leaves 0 to %d" % (y.n, x.n)
    for start, size in sorted(seen_a.keys() & seen_b.keys()):
        if seen_a[start, size] != seen_b[start, size]:
            return "two histories of leaves %d to %d" % (start, start + size - 1)
    return None


# --- 3.2 Succession ---


def continues(old, new, key):
    """Why the log of bundle new does not continue that of bundle old; None if it does."""
    last = []
    out = bundle(old, key, lambda result: last.append(result.leaf))
    if EXIT[out["verdict"]] > 1:
        return "the first is " + out["verdict"]
    end = last[-1] if last else None
    if end is None or end.type != SHUTDOWN or not end.p[33].startswith("succeeded by ") or out["root"] is None:
        return "its last leaf names no key"
    heir = Key.parse(end.p[33].removeprefix("succeeded by "))
    header = mapping(decode(next(items_of(new.read), b""), MAX64), {1, 2, 3, 4, 7, 8}, {5, 6, 9})
    genesis = Leaf(bstr(header[7], 0, MAX64))
    if genesis.type != GENESIS or genesis.record.key != heir or not heir.signed(genesis.sign1):
        return "another key opens the second"
    if genesis.p.get(25, [])[:3] != [end.log, end.n + 1, bytes.fromhex(out["root"])]:
        return "the second says of the first that it ended otherwise, or nothing"
    return None


# --- Command line ---

EXIT = {"verified": 0, "gap": 1, "replayed": 1, "unreadable": 3, "altered": 4, "forked": 4, "wrong-key": 4}


def run_bundle(path, key):
    with open(path, "rb") as f:
        out = bundle(f, key)
    print(json.dumps(out))
    return EXIT[out["verdict"]]


def bundle_words(data, key):
    try:
        out = bundle(io.BytesIO(data), key)
    except NotABundle:
        return "not-a-bundle"
    return out["verdict"] + ("/" + out["reason"] if out["reason"] else "")


def run_vectors(directory):
    count = mismatches = 0
    for path in sorted(pathlib.Path(directory).glob("*.txt")):
        header, _, body = path.read_text().partition("\n\n")
        fields = dict(line.split(": ", 1) for line in header.splitlines())
        expected = fields["expect"].split()
        messages = [bytes.fromhex(line) for line in body.split("\n")[: len(expected)]]
        key = Key.parse(fields["key"])
        if fields["kind"] == "stream":
            verifier = Verifier(key)
            if "meta" in fields:
                verifier.meta(bytes.fromhex(fields["meta"]))
            got = [str(verifier.add(message)) for message in messages]
        else:
            check = bundle_words if fields["kind"] == "bundle" else receipt
            got = [check(message, key) for message in messages]
        for i, (want, have) in enumerate(zip(expected, got)):
            if want != have:
                print("%s: message %d: %s, here %s" % (path.name, i, want, have))
                mismatches += 1
        count += 1
    print("%d vectors, %d mismatches" % (count, mismatches))
    return 1 if mismatches or not count else 0


def run_batch(path):
    with open(path) as f:
        for line in f:
            log = json.loads(line)
            key = Key.parse(log["key"])
            given = {key.suite.hash(b"\2" + bytes.fromhex(n))[:16]: ms for n, ms in log.get("nonces", {}).items()}
            verifier = Verifier(key, given)
            if log.get("meta") is not None:
                try:
                    verifier.meta(bytes.fromhex(log["meta"]))
                except (Malformed, Finding):
                    pass  # the verifier begins without one
            times = log.get("received")
            words = []
            for i, message in enumerate(log["messages"]):
                result = verifier.add(bytes.fromhex(message), times[i] if times else None)
                words.append(result.verdict + (" " + result.grade if times else ""))
            print(json.dumps(words))
    return 0


def run_fraud(first, second, key, meta=None):
    verifier = Verifier(key)
    if meta is not None:
        verifier.meta(meta)
    why = fork(Delivery(first), Delivery(second), verifier)
    print("forked: " + why if why else "not forked")
    return 4 if why else 0


def main(arguments):
    match arguments:
        case ["--vectors", directory]:
            return run_vectors(directory)
        case ["--batch", path]:
            return run_batch(path)
        case ["--fraud", first, second, key, *meta] if len(meta) <= 1:
            files = [pathlib.Path(p).read_bytes() for p in (first, second, *meta)]
            return run_fraud(*files[:2], Key.parse(key), *files[2:])
        case ["--fraud", path, key]:
            magic, version, meta, first, second = array(decode(pathlib.Path(path).read_bytes(), MAX64), 5, 5)
            need(magic == "tally-fraud" and version == 1, "not a fraud proof of version 1")
            return run_fraud(*(bstr(b, 0, MAX64) for b in (first, second)), Key.parse(key), bstr(meta, 0, MAX64))
        case ["--continues", old, new, key]:
            with open(old, "rb") as a, open(new, "rb") as b:
                why = continues(a, b, Key.parse(key))
            print("not continued: " + why if why else "continued")
            return 4 if why else 0
        case [path, key] if not path.startswith("--"):
            return run_bundle(path, Key.parse(key))
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Malformed, Finding, OSError) as e:
        print("unreadable: %s" % e, file=sys.stderr)
        sys.exit(3)
