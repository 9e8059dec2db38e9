"""Every message of docs/PROTOCOL.md, by direction and command.

`parse(direction, message)` answers the message with only the members that the document names, or raises Malformed with
the JSON pointer to the first fault. A rule here is a function of a value and its path that does the same.
"""

import re

from wire import MAX_INTEGER, Malformed, fault_of, is_text, pointer_tokens, units

# --- rules ------------------------------------------------------------------------------------------------------------


def text(most=None, least=0, pattern=None):
    def rule(value, path):
        if not isinstance(value, str) or not is_text(value):
            raise Malformed("a text is expected", path)
        if units(value) < least or (most is not None and units(value) > most):
            raise Malformed(f"{least} to {most} characters are expected", path)
        if pattern is not None and not re.fullmatch(pattern, value):
            raise Malformed("the text has another form", path)
        return value

    return rule


def integer(least=0, most=MAX_INTEGER):
    def rule(value, path):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or value != value // 1 or not least <= value <= most:
            raise Malformed(f"an integer of {least} to {most} is expected", path)
        return int(value)

    return rule


def boolean(value, path):
    if not isinstance(value, bool):
        raise Malformed("true or false is expected", path)
    return value


def one_of(*values):
    def rule(value, path):
        # True == 1 in Python, and nowhere in JSON.
        if not any(value is choice or (value == choice and type(value) is type(choice)) for choice in values):
            raise Malformed(f"one of {values} is expected", path)
        return value

    return rule


def anything(value, path):
    """A JSON value within the limits."""
    fault = fault_of(value)
    if fault is not None:
        raise Malformed(fault, path)
    return value


def pointer(value, path):
    text(most=8192)(value, path)
    try:
        pointer_tokens(value)
    except Malformed as error:
        raise Malformed(str(error), path) from None
    return value


def list_of(rule, most=None):
    def list_rule(value, path):
        if not isinstance(value, list) or (most is not None and len(value) > most):
            raise Malformed(f"a list of at most {most} is expected", path)
        return [rule(item, f"{path}/{index}") for index, item in enumerate(value)]

    return list_rule


def record(required=None, **optional):
    """An object. Members that are not named are dropped; an optional one is absent, never null."""
    required = required or {}

    def rule(value, path):
        if not isinstance(value, dict):
            raise Malformed("an object is expected", path)
        for name in required:
            if name not in value:
                raise Malformed("it is missing", f"{path}/{name}")
        rules = {**required, **optional}
        return {name: check(value[name], f"{path}/{name}") for name, check in rules.items() if name in value}

    return rule


def by(member, **rules):
    """An object whose rule depends on one of its members."""

    def rule(value, path):
        chosen = record({member: one_of(*rules)})(value, path)[member]
        return rules[chosen](value, path)

    return rule


# --- what several messages are made of --------------------------------------------------------------------------------

UUID7 = text(pattern="[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
SECRET = text(pattern="[A-Za-z0-9_-]{43}")
NAME = text(pattern="[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
WRITTEN_NAME = text()
EVENT = text(least=1, most=256)
COUNTER = integer()
NOTHING = record()
ERROR = record({"code": text(most=64), "message": text(most=2048)})
VERSIONS = record({"oldest": COUNTER, "newest": COUNTER})
POSITION = record({"term": UUID7, "version": COUNTER})
PROOF = record(nonce=SECRET, publicKey=SECRET, signature=text())
OFFER = record({"type": one_of("offer"), "sdp": text(most=65536)})
ANSWER = record({"type": one_of("answer"), "sdp": text(most=65536)})
ICE_SERVER = record({"urls": list_of(text(most=512))}, username=text(), credential=text())
INTRODUCTION = record({"introduction": UUID7})
PATCH = list_of(
    by(
        "op",
        add=record({"op": text(), "path": pointer, "value": anything}),
        replace=record({"op": text(), "path": pointer, "value": anything}),
        remove=record({"op": text(), "path": pointer}),
    ),
    most=100_000,
)


def candidate(value, path):
    """What an engine leaves out, or says as null, is read as null and 0."""
    record()(value, path)
    value = {name: member for name, member in value.items() if name == "candidate" or member is not None}
    rule = record({"candidate": text(most=2048)}, sdpMid=text(most=64), sdpMLineIndex=integer(most=255))
    return {"sdpMid": None, "sdpMLineIndex": 0, **rule(value, path)}


SIGNAL = record({"introduction": UUID7, "candidate": candidate})


def elements(value, path):
    return list_of(lambda element, _path: element)(anything(value, path), path)


def members(value, path):
    record()(value, path)
    return anything(value, path)


def part(value, path):
    parsed = record({"path": pointer}, elements=elements, members=members, last=boolean)(value, path)
    if ("elements" in parsed) == ("members" in parsed):
        raise Malformed("either elements or members are expected", path)
    return parsed


LINK = {"ping": NOTHING, "goodbye": ERROR}

# --- the vocabularies -------------------------------------------------------------------------------------------------

VOCABULARIES = {
    "naming/client": {
        "startServer": record({"name": WRITTEN_NAME, "attempt": SECRET}, key=text()),
        "confirm": record({"name": NAME, "key": SECRET}),
        "renew": record({"name": NAME, "key": SECRET, "claim": COUNTER}),
        "stopServer": record({"name": NAME, "key": SECRET}),
        "connect": record({"name": WRITTEN_NAME, "offer": OFFER}, proof=PROOF),
        "watch": record({"name": WRITTEN_NAME}),
        "unwatch": record({"name": WRITTEN_NAME}),
        "signal": SIGNAL,
        "opened": INTRODUCTION,
        "end": INTRODUCTION,
    },
    "naming/server": {
        "welcome": record({"versions": VERSIONS, "iceServers": list_of(ICE_SERVER)}),
        "introduction": record({"introduction": UUID7, "name": NAME, "offer": OFFER}, proof=PROOF),
        "signal": SIGNAL,
        "available": record({"name": NAME}),
        "ended": INTRODUCTION,
        "evicted": record({"name": NAME, "claim": COUNTER}),
    },
    "naming/acknowledgement": {"result": anything, "error": ERROR},
    "replication/up": {
        **LINK,
        "pong": record(hidden=boolean, lowestCall=COUNTER),
        "hello": record(
            {
                "versions": VERSIONS,
                "secret": SECRET,
                "calls": list_of(COUNTER, most=1000),
                "encodings": list_of(text(), most=16),
            },
            position=POSITION,
            session=UUID7,
            token=text(most=8192),
        ),
        "emit": record({"seq": COUNTER, "prev": COUNTER, "event": EVENT}, payload=anything),
        "mutate": record({"seq": COUNTER, "prev": COUNTER, "base": COUNTER, "patch": PATCH}),
        "volatile": record({"event": EVENT}, payload=anything),
        "call": record({"call": COUNTER, "method": EVENT, "lowestCall": COUNTER}, params=anything),
        "cancel": record({"call": COUNTER}),
    },
    "replication/down": {
        **LINK,
        "pong": record(hidden=boolean, lowestCall=COUNTER),
        "welcome": record(
            {
                "version": COUNTER,
                "position": POSITION,
                "by": one_of("commits", "snapshot"),
                "client": COUNTER,
                "session": UUID7,
                "calls": list_of(COUNTER),
                "encoding": text(),
            },
            lastSeq=COUNTER,
        ),
        "snapshot": record({"version": COUNTER}, state=anything, more=boolean),
        "part": part,
        "commit": record(
            {
                "version": COUNTER,
                "patch": PATCH,
                "events": list_of(record({"event": EVENT, "id": text(most=64), "at": COUNTER}, payload=anything), most=1000),
            },
            origin=record({"client": COUNTER, "seq": COUNTER}),
        ),
        "refused": record({"seq": COUNTER, "version": COUNTER, "code": text(most=64), "message": text(most=2048)}),
        "volatile": record({"event": EVENT}, payload=anything, client=COUNTER),
        "answer": record({"call": COUNTER, "version": COUNTER}, result=anything, error=ERROR),
    },
}

RESULTS = {
    "startServer": by(
        "answer",
        registered=record({"answer": text(), "key": SECRET, "claim": COUNTER}),
        started=record({"answer": text(), "claim": COUNTER}),
        exists=record({"answer": text()}),
    ),
    "confirm": NOTHING,
    "renew": record({"answer": one_of("renewed", "evicted"), "claim": COUNTER}),
    "stopServer": record({"answer": one_of("stopped")}),
    "connect": record({"introduction": UUID7, "answer": ANSWER}, proof=PROOF),
    "introduction": record({"answer": ANSWER}, proof=PROOF),
    "watch": record({"live": boolean}, registered=boolean),
    "unwatch": NOTHING,
    "signal": NOTHING,
    "opened": NOTHING,
    "end": NOTHING,
}


def parse(direction, message):
    vocabulary = VOCABULARIES[direction]
    if not isinstance(message, dict):
        raise Malformed("an object is expected")
    command = message.get("command")
    if not isinstance(command, str) or command not in vocabulary:
        raise Malformed("the command is not known", "/command")
    around = {"command": text(), "payload": vocabulary[command], "uuid": UUID7, "timestamp": COUNTER}
    return record(around)(message, "")


def parse_result(command, result):
    return RESULTS[command](result, "")
