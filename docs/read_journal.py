#!/usr/bin/env python3
"""Lists the messages of an Outrigger journal (not encrypted) as JSON lines: python3 read_journal.py DIR

DIR is the folder with the *.segment files. It follows docs/journal-format.md, needs nothing but Python's
standard library, and prints what "outrigger journal export DIR" prints. What is damaged or missing is told on
standard error; the exit code is 1 then.
"""
import base64
import json
import os
import re
import struct
import sys
import zlib

HEADER, BLOCK = 4096, 48
ENCRYPTED, GAP = 1, 1


def segment_header(data, name):
    """Journal id, base seq, uuid, the uuid of the segment before, and the header's CRC."""
    if len(data) < HEADER or data[:4] != b"ORJG" or zlib.crc32(data[:4092]) != struct.unpack_from("<I", data, 4092)[0]:
        return None
    version, features = struct.unpack_from("<II", data, 4)
    if version != 1 or features & ENCRYPTED or features > ENCRYPTED:
        sys.exit(f"{name}: version {version} with features {features} is not for this reader")
    journal_id = data[32:48].rstrip(b"\0").decode("latin-1")
    return journal_id, struct.unpack_from("<Q", data, 48)[0], data[16:32], data[264:280], struct.unpack_from("<I", data, 4092)[0]


def block_at(data, at, seed):
    """(size, first seq, count, flags, number, previous CRC, CRC, payload) of a valid block, or None."""
    if data[at:at + 4] != b"ORBK" or at + BLOCK > len(data):
        return None
    _, size, first, count, flags, number, previous = struct.unpack_from("<4sIQIIII", data, at)
    head_crc = zlib.crc32(data[at:at + 44], seed)
    end = at + BLOCK + size
    if head_crc != struct.unpack_from("<I", data, at + 44)[0] or end + 4 > len(data):
        return None
    crc = zlib.crc32(data[at + BLOCK:end], head_crc)
    if crc != struct.unpack_from("<I", data, end)[0]:
        return None
    return BLOCK + size + 4, first, count, flags, number, previous, crc, data[at + BLOCK:end]


def blocks(data, base, limit, seed, crc):
    """Every block that counts. Where one is damaged, goes on with the next that is whole and later."""
    at, seq, number = HEADER, base, 0
    while limit is None or seq < limit:
        block = block_at(data, at, seed)
        if block is None or block[1] != seq or (crc is not None and (block[5] != crc or block[4] != number)):
            start = at
            while True:
                at = data.find(b"ORBK", at)
                if at == -1:
                    return
                block = block_at(data, at, seed)
                moved = block is not None and (at > start or block[1] > seq)
                if moved and block[4] >= number and block[1] >= seq:
                    break
                at += 1
            if limit is not None and block[1] >= limit:
                return
        if limit is not None and block[1] + block[2] > limit:
            return
        yield block
        at, seq, number, crc = at + block[0], block[1] + block[2], block[4] + 1, block[6]


def text_or_base64(fields, name, value):
    try:
        fields[name] = None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        fields[name + "Base64"] = base64.b64encode(value).decode()


def number(value):
    return int(value) if value == int(value) else value


def message(record, seq, journal_id):
    if record[0] != 1:
        sys.exit(f"record version {record[0]} is not known")
    at = 2 + record[1]

    def take(form):
        nonlocal at
        value = struct.unpack_from(form, record, at)[0]
        at += struct.calcsize(form)
        return value

    def sized(form):
        nonlocal at
        length = take(form)
        at += length
        return record[at - length:at]

    fields = {"seq": seq, "id": f"{journal_id}-{seq}", "topic": record[2:at].decode("latin-1")}
    flags, accepted_at = take("<H"), take("<d")
    fields["partition"] = take("<i") if flags & 1 else None
    fields["timestamp"] = number(take("<d")) if flags & 2 else None
    fields["acceptedAt"] = number(accepted_at)
    key = sized("<I") if flags & 4 else None
    value = sized("<I") if flags & 8 else None
    for bit, name in enumerate(("producer", "contentType", "traceparent", "tracestate", "idempotencyKey"), 4):
        fields[name] = sized("<H").decode("utf-8", "replace") if flags & 1 << bit else None
    text_or_base64(fields, "key", key)
    text_or_base64(fields, "value", value)
    headers = {}
    for _ in range(take("<H") if flags & 512 else 0):
        name, holder = sized("<H").decode("utf-8", "replace"), {}
        text_or_base64(holder, "base64", sized("<I"))
        values = headers.setdefault(name, [])
        values.append(holder["base64"] if "base64" in holder else {"base64": holder["base64Base64"]})
    fields["headers"] = headers
    return fields


def main(directory):
    names = sorted(name for name in os.listdir(directory) if re.fullmatch(r"[0-9]{16}\.segment", name))
    expected, is_damaged = None, False
    for i, name in enumerate(names):
        with open(os.path.join(directory, name), "rb") as file:
            data = file.read()
        base = int(name[:16])
        limit = int(names[i + 1][:16]) if i + 1 < len(names) else None
        header = segment_header(data, name)
        expected = base
        if header is not None and header[1] == base:
            journal_id, _, uuid, _, crc = header
            for _, first, count, flags, _, _, _, payload in blocks(data, base, limit, zlib.crc32(uuid), crc):
                is_damaged |= first != expected
                at = 0
                for seq in range(first, first + (0 if flags & GAP else count)):
                    length = struct.unpack_from("<I", payload, at)[0]
                    at += 4 + length
                    line = json.dumps(message(payload[at - length:at], seq, journal_id), ensure_ascii=False, separators=(",", ":"))
                    sys.stdout.buffer.write(line.encode() + b"\n")
                expected = first + count
        else:
            is_damaged = True
        is_damaged |= limit is not None and expected != limit
    if is_damaged:
        sys.exit("Not all messages are there, or readable; the others were printed.")


if __name__ == "__main__":
    main(sys.argv[1])
