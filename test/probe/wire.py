"""JSON as it may travel, and what every message has around its payload: "The envelope" of docs/PROTOCOL.md.

Promises that what `parse_text` and the checkers let through keeps the document's limits, and that a fault is told by the
JSON pointer to it. Knows no command: those are in grammar.py.
"""

import json
import os
import re
import time

# Of this protocol.
VERSION = 1

MAX_DEPTH = 128
MAX_INTEGER = 2**53 - 1
FORBIDDEN_KEYS = {"__proto__", "constructor", "prototype"}


class Malformed(Exception):
    """What was received breaks the document's rules; the link or request it came by is answered with `code`."""

    def __init__(self, sentence, path="", code="invalid-message"):
        super().__init__(f"{path or 'the message'}: {sentence}")
        self.path = path
        self.code = code


def uuid7():
    """RFC 9562: 48 bits of milliseconds, the version, and 74 random bits."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    number = number & ~(0xF << 76) | (7 << 76)
    number = number & ~(0x3 << 62) | (2 << 62)
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def envelope(command, payload, uuid=None, timestamp=None):
    return {
        "command": command,
        "payload": payload,
        "uuid": uuid or uuid7(),
        "timestamp": int(time.time() * 1000) if timestamp is None else timestamp,
    }


def to_text(value):
    """Texts stay as they are: a lone surrogate, which JSON could escape, must not leave at all."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def parse_text(text):
    """JSON alone: Python would also take NaN and Infinity."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {error}") from None


def _no_constant(name):
    raise ValueError(f"{name} is no JSON")


def fault_of(value, above=0):
    """Why a value may not travel below so many levels, or None. Not recursive: the depth is what it looks for."""
    todo = [(value, above)]
    while todo:
        value, above = todo.pop()
        if isinstance(value, str):
            if not is_text(value):
                return "a lone surrogate"
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            # Every double above 2^53-1 is an integer; NaN is unequal to itself.
            if value != value or abs(value) > MAX_INTEGER:
                return "a number that is not finite, or an integer beyond 2^53-1"
        elif isinstance(value, (list, dict)):
            if above >= MAX_DEPTH:
                return f"more than {MAX_DEPTH} levels"
            if isinstance(value, dict):
                for key in value:
                    if key in FORBIDDEN_KEYS or not is_text(key):
                        return f"the key {key!r}"
            inner = value if isinstance(value, list) else value.values()
            todo.extend((item, above + 1) for item in inner)
    return None


def is_text(value):
    """Whether all surrogates are in pairs: Python joins pairs when it reads JSON, so any that is left is alone."""
    return not re.search("[\ud800-\udfff]", value)


def units(text):
    """The length as the document counts characters: in UTF-16 units."""
    return len(text) + sum(character > "\uffff" for character in text)


def pointer_tokens(pointer):
    """The keys of a JSON pointer (RFC 6901); raises Malformed for what is none."""
    if pointer == "":
        return []
    if not pointer.startswith("/") or re.search("~(?![01])", pointer):
        raise Malformed(f"{pointer!r} is no JSON pointer")
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]
    if not FORBIDDEN_KEYS.isdisjoint(tokens):
        raise Malformed(f"{pointer!r} names a forbidden key")
    return tokens
