"""How ids and texts are hashed into the golden files: FNV-1a, 64 bits, over little-endian 32-bit ids or bytes."""

import struct


def fnv(data, h=0xCBF29CE484222325):
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def ids_bytes(ids):
    return struct.pack(f"<{len(ids) + 1}i", *ids, -1)


def of_string(plain, special, text_plain, text_special):
    """One string, folded to 32 bits: ids as data, ids with names of special tokens parsed and BOS/EOS added, and both decoded."""
    h = fnv(ids_bytes(plain) + ids_bytes(special) + text_plain.encode() + b"\0" + text_special.encode())
    return (h ^ h >> 32) & 0xFFFFFFFF
