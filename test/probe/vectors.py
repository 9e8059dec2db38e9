"""Runs every file of test/vectors against this folder's parser, which was written from docs/PROTOCOL.md alone.

Writes one JSON object a line and file: {file, passed, failed: [sentence, ...]}. Run by vectors.test.ts.
"""

import json
import sys
from pathlib import Path

from frames import BULK, ORDERED, URGENT, FrameReader, cut
from grammar import RESULTS, VOCABULARIES, parse, parse_result
from state import ABSENT, Snapshot, applied
from wire import Malformed

# Of this repository alone, and nobody else's business: see test/vectors/README.md.
NOT_THE_WIRE = {"schema-hashes.json"}

# What the frames' vectors are read with, and the size that the README of the vectors names for them.
FRAMES_MOST_BYTES = 1_000


def main(folder):
    for path in sorted(folder.rglob("*.json")):
        file = path.relative_to(folder).as_posix()
        if file in NOT_THE_WIRE:
            continue
        vectors = json.loads(path.read_text("utf-8"))
        failed = []
        entries = [(vector, True) for vector in vectors["valid"]] + [(vector, False) for vector in vectors["invalid"]]
        for vector, valid in entries:
            for fault in (take if valid else refuse)(file, vector):
                failed.append(f"{'takes' if valid else 'refuses'} {vector['title']}: {fault}")
        print(json.dumps({"file": file, "passed": len(entries) - len(failed), "failed": failed}))


def readers_of(file):
    """How the examples of a file are read. An unknown file is a fault: someone added what the document does not say."""
    folder, _, command = file.removesuffix(".json").rpartition("/")
    if file == "frames.json":
        return [read_frames]
    if file == "patches.json":
        return [lambda vector: applied(vector.get("state", ABSENT), vector["patch"])]
    if file == "parts.json":
        return [read_parts]
    if file == "envelope.json":
        links = ("replication/up", "replication/down")
        return [lambda vector, link=link: parse(link, vector["message"]) for link in links]
    if folder in VOCABULARIES and command in VOCABULARIES[folder]:
        return [lambda vector: parse(folder, vector["message"])]
    if folder == "naming/result" and command in RESULTS:
        return [lambda vector: parse_result(command, vector["result"])]
    return []


def take(file, vector):
    expected = expected_of(file, vector)
    for read in readers_of(file) or [unknown]:
        try:
            if not same(read(vector), expected):
                yield "something else was read"
        except Malformed as error:
            yield f"it was refused: {error}"
    if file == "frames.json":
        yield from cut_again(vector["values"])


def expected_of(file, vector):
    if file == "patches.json":
        return vector.get("result", ABSENT)
    members = ("parsed", "message", "result", "values", "state")
    return next(vector[member] for member in members if member in vector)


def refuse(file, vector):
    for read in readers_of(file) or [unknown]:
        try:
            read(vector)
            yield "it was taken"
        except Malformed as error:
            if error.code != vector.get("code", error.code):
                yield f"the code is {error.code}"
            if error.path != vector.get("path", error.path):
                yield f"the fault is seen at {error.path!r}"


def unknown(_vector):
    raise Malformed("the file is not known here", code="unknown-file", path="(none)")


def read_frames(vector):
    reader = FrameReader(FRAMES_MOST_BYTES)
    read = []
    for frame in vector["frames"]:
        read += reader.read(frame if isinstance(frame, str) else bytes.fromhex(frame["hex"]))
    return read


def read_parts(vector):
    snapshot = Snapshot({"version": 1, "state": vector["skeleton"], "more": True})
    for part in vector["parts"]:
        snapshot.add(part)
    return snapshot.state


def cut_again(values):
    """What we cut ourselves is read back, however small the frames."""
    for most in (2, 3, 64, 65_536):
        for value in values:
            for lane in (URGENT, ORDERED, BULK):
                reader = FrameReader(FRAMES_MOST_BYTES)
                read = [message for frame in cut(value, lane, most) for message in reader.read(frame)]
                if not same(read, [value]):
                    yield f"cut into frames of {most} bytes, something else was read"


def same(one, other):
    """Equality of JSON: Python alone has True == 1."""
    if one is ABSENT or other is ABSENT:
        return one is other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
