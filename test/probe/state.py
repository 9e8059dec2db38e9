"""States: patches, and snapshots that come in parts. "A snapshot" and "What a patch does" of docs/PROTOCOL.md.

States are never changed in place, except a snapshot that is not complete: whoever holds one may keep it.
"""

import re

from wire import MAX_DEPTH, Malformed, fault_of, pointer_tokens

# No state, which is not null.
ABSENT = object()


def applied(state, patch):
    """The state after the patch; raises Malformed where it does not apply, and then nothing has happened."""
    for operation in patch:
        tokens = pointer_tokens(operation["path"])
        state = _written(state, tokens, operation)
    return state


def _written(value, tokens, operation):
    if not tokens:
        if value is ABSENT and operation["op"] != "add":
            raise Malformed(f"nothing is at {operation['path']!r}")
        return ABSENT if operation["op"] == "remove" else operation["value"]
    token, rest = tokens[0], tokens[1:]
    if not rest and isinstance(value, list) and operation["op"] != "replace":
        return _spliced(value, token, operation)
    copy = value.copy() if isinstance(value, (list, dict)) else value
    key = _key(copy, token, operation["path"], may_be_new=not rest and operation["op"] == "add")
    inner = copy.get(key, ABSENT) if isinstance(copy, dict) else copy[key]
    written = _written(inner, rest, operation)
    if written is ABSENT:
        del copy[key]
    else:
        copy[key] = written
    return copy


def _spliced(items, token, operation):
    """Into or out of an array: what is behind moves."""
    path = operation["path"]
    if operation["op"] == "remove":
        at = _key(items, token, path)
        return items[:at] + items[at + 1 :]
    at = len(items) if token == "-" else _index(token, path)
    if at > len(items):
        raise Malformed(f"{path!r} is behind the end")
    return [*items[:at], operation["value"], *items[at:]]


def _key(container, token, path, may_be_new=False):
    if isinstance(container, dict) and (may_be_new or token in container):
        return token
    if isinstance(container, list) and _index(token, path) < len(container):
        return int(token)
    raise Malformed(f"nothing is at {path!r}")


def _index(token, path):
    if not re.fullmatch("0|[1-9][0-9]{0,15}", token):
        raise Malformed(f"{path!r} has no index")
    return int(token)


class Snapshot:
    """A snapshot that comes, whole or in parts."""

    def __init__(self, payload):
        self.version = payload["version"]
        self.state = payload.get("state", ABSENT)
        self.is_complete = not payload.get("more", False)
        if not self.is_complete and self.state is ABSENT:
            raise Malformed("a snapshot with more to come has no state")

    def add(self, part):
        if self.is_complete:
            raise Malformed("a part, and no snapshot is open")
        tokens = pointer_tokens(part["path"])
        container = self.state
        for token in tokens:
            container = container[_key(container, token, part["path"])] if _holds(container) else None
        brought, kind = (part["elements"], list) if "elements" in part else (part["members"], dict)
        if not isinstance(container, kind):
            raise Malformed(f"no {kind.__name__} is at {part['path']!r}")
        if fault_of(brought, above=len(tokens)) is not None:
            raise Malformed(f"with {part['path']!r} it nests more than {MAX_DEPTH} levels")
        if kind is list:
            container.extend(brought)
        else:
            container.update(brought)
        self.is_complete = part.get("last", False)


def _holds(value):
    return isinstance(value, (list, dict))
