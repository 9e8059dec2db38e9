"""What a slave knows and wants: "Replication" of docs/PROTOCOL.md, without a network.

Messages go in by `receive`, and leave by the link's `send`. A fault raises Malformed: the link is then closed with it, and
the position is forgotten. It predicts nothing: an own emit shows when its commit comes.
"""

import asyncio
import os
from base64 import urlsafe_b64encode

from nameserver import Refused
from state import ABSENT, Snapshot, applied
from wire import VERSION, Malformed, envelope

MAX_CALLS_IN_HELLO = 1_000


class Change:
    """An own change that is not answered yet. The outcome is the version it was committed with."""

    def __init__(self, seq, command):
        self.seq = seq
        self.around = envelope(command, {})
        self.body = None
        self.mutator = None
        self.patch = None
        self.on_its_way = False
        self.was_sent = False
        self.runs = 0
        self.outcome = asyncio.get_running_loop().create_future()


class Call:
    def __init__(self, body, behind):
        self.body = body
        self.behind = behind
        self.on_its_way = False
        self.was_sent = False
        self.outcome = asyncio.get_running_loop().create_future()


class Replica:
    def __init__(self, tell):
        """`tell(what, details)` is told what a program would want to know, in order."""
        self._tell = tell
        self._secret = urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
        self._seq = 0
        self._call = 0
        self._pending = []
        self._calls = {}
        self._acknowledged = set()
        self._last_seq = 0
        self._client = None
        self._session = None
        self.state = ABSENT
        self.position = None
        self._link = None
        self._welcome = None

    # --- a link ---

    def hello(self, link):
        """The first words on a new link."""
        self._link = link
        self._welcome = None
        self.is_live = False
        self.joined = asyncio.get_running_loop().create_future()
        self._refusals = []
        self._answers = []
        versions = {"oldest": VERSION, "newest": VERSION}
        hello = {"versions": versions, "secret": self._secret, "encodings": []}
        hello["calls"] = [number for number, call in self._calls.items() if call.was_sent][:MAX_CALLS_IN_HELLO]
        if self.position is not None:
            hello["position"] = self.position
        if self._session is not None:
            hello["session"] = self._session
        link.send("hello", hello)

    def unlink(self):
        self._link = None
        self.is_live = False

    def forget_position(self):
        self.position = None

    def receive(self, message):
        command = message["command"]
        handle = getattr(self, f"_on_{command}", None)
        if handle is not None:
            handle(message["payload"])
            self._settle()

    # --- catching up ---

    def _on_welcome(self, payload):
        if payload["version"] != VERSION:
            raise Malformed("a version that was not offered", "/payload/version", "unsupported-version")
        self.is_live = False
        self._welcome = payload
        self._snapshot = None
        # What is caught up with, and the events on the way: nothing of it shows before it is complete.
        by_commits = payload["by"] == "commits"
        if by_commits and self.position is None:
            raise Malformed("commits after a position that was not told", "/payload/by")
        self._version = self.position["version"] if by_commits else None
        self._caught = self.state
        self._events = []
        self._go_live()

    def _on_snapshot(self, payload):
        if self._welcome is None or self.is_live or self._snapshot is not None or self._welcome["by"] != "snapshot":
            raise Malformed("a snapshot that nobody announced")
        self._snapshot = Snapshot(payload)
        self._take_snapshot()

    def _on_part(self, payload):
        if self._welcome is None or self._snapshot is None:
            raise Malformed("a part, and no snapshot is open")
        self._snapshot.add(payload)
        self._take_snapshot()

    def _take_snapshot(self):
        if self._snapshot.is_complete:
            self._caught, self._version = self._snapshot.state, self._snapshot.version
            self._go_live()

    def _on_commit(self, payload):
        if self._welcome is None or self._version is None:
            raise Malformed("a commit, and no state that it changes")
        if payload["version"] <= self._version:
            return
        if payload["version"] != self._version + 1:
            raise Malformed(f"a gap after {self._version}", "/payload/version")
        self._caught = applied(self._caught, payload["patch"])
        self._version = payload["version"]
        self._events.append(payload)
        if self.is_live:
            self._show()
        else:
            self._go_live()

    def _go_live(self):
        """The seven steps, once the welcome's position is reached."""
        welcome = self._welcome
        if self._version is None or self._version < welcome["position"]["version"]:
            return
        by_snapshot, is_return, is_first = welcome["by"] == "snapshot", self._session is not None, not self.joined.done()
        self._client = welcome["client"]
        self.is_live = True
        last_seq = welcome.get("lastSeq", 0)
        for change in [change for change in self._pending if change.seq <= last_seq]:
            self._commit(change, welcome["position"]["version"])
        if is_first and "lastSeq" not in welcome:
            for change in [change for change in self._pending if change.was_sent]:
                self._drop(change, Refused({"code": "unknown-outcome", "message": "The master is another one."}))
        if is_first:
            for change in self._pending:
                change.on_its_way = False
        if by_snapshot:
            lost = sorted(seq for seq in self._acknowledged if seq > last_seq)
            self._acknowledged -= set(lost)
            if lost:
                self._tell("lost", lost)
        self._last_seq = last_seq
        self._show()
        self._go_on_with_calls(welcome)
        self._session = welcome["session"]
        if is_first:
            self.joined.set_result(None)
        self._tell(("reset" if by_snapshot else "resumed") if is_return else "joined", self.position)

    def _show(self):
        self.state = self._caught
        self.position = {"term": self._welcome["position"]["term"], "version": self._version}
        for commit in self._events:
            origin = commit.get("origin", {})
            own = origin.get("client") == self._client
            for change in [change for change in self._pending if own and change.seq == origin["seq"]]:
                self._commit(change, commit["version"])
            if own:
                self._last_seq = max(self._last_seq, origin["seq"])
            for event in [] if own else commit["events"]:
                self._tell("event", event)
        self._events = []

    def _commit(self, change, version):
        self._pending.remove(change)
        self._acknowledged.add(change.seq)
        self._last_seq = max(self._last_seq, change.seq)
        change.outcome.set_result(version)

    def _drop(self, change, error):
        self._pending.remove(change)
        change.outcome.set_exception(error)

    # --- changes ---

    def emit(self, event, *payload):
        change = self._add("emit")
        change.body = {"event": event, **({"payload": payload[0]} if payload else {})}
        self._settle()
        return change

    def mutate(self, mutator):
        """`mutator(state)` answers a patch. It is run again after each conflict."""
        change = self._add("mutate")
        change.mutator = mutator
        self._settle()
        return change

    def _add(self, command):
        self._seq += 1
        change = Change(self._seq, command)
        self._pending.append(change)
        return change

    def _on_refused(self, payload):
        self._refusals.append(payload)

    def _take_refusals(self):
        reached = [refusal for refusal in self._refusals if refusal["version"] <= self.position["version"]]
        for refusal in reached:
            self._refusals.remove(refusal)
            for change in [change for change in self._pending if change.seq == refusal["seq"]]:
                for later in self._pending[self._pending.index(change) :]:
                    later.on_its_way = False
                if refusal["code"] != "conflict" or change.mutator is None:
                    self._drop(change, Refused(refusal))

    def _send_changes(self):
        """In the order of seq, from the first that is not on its way; each mutate made on what is before it."""
        state, prev = self.state, self._last_seq
        for change in list(self._pending):
            if not change.on_its_way:
                body = change.body or {"base": self.position["version"], "patch": self._run(change, state)}
                if body.get("patch") == []:
                    self._pending.remove(change)
                    change.outcome.set_result(self.position["version"])
                    continue
                change.on_its_way = change.was_sent = True
                around = change.around
                payload = {"seq": change.seq, "prev": prev, **body}
                self._link.send(around["command"], payload, around["uuid"], around["timestamp"])
            if change.patch is not None:
                try:
                    state = applied(state, change.patch)
                except Malformed:
                    return  # It will be refused, and all that is behind it sent again.
            prev = change.seq

    def _run(self, change, state):
        change.runs += 1
        change.patch = change.mutator(state)
        return change.patch

    def volatile(self, event, payload):
        if self.is_live:
            self._link.send("volatile", {"event": event, "payload": payload})

    def _on_volatile(self, payload):
        self._tell("volatile", payload)

    # --- calls ---

    def call(self, method, *params):
        self._call += 1
        body = {"call": self._call, "method": method, **({"params": params[0]} if params else {})}
        call = self._calls[self._call] = Call(body, behind=self._seq)
        self._settle()
        return call

    def _go_on_with_calls(self, welcome):
        same = welcome["session"] == self._session
        for number, call in list(self._calls.items()):
            if call.was_sent and not same:
                del self._calls[number]
                call.outcome.set_exception(Refused({"code": "unknown-outcome", "message": "The session is another one."}))
            else:
                call.on_its_way = same and number in welcome["calls"]

    def _on_answer(self, payload):
        self._answers.append(payload)

    def _take_answers(self):
        reached = [answer for answer in self._answers if answer["version"] <= self.position["version"]]
        for answer in reached:
            self._answers.remove(answer)
            call = self._calls.pop(answer["call"], None)
            if call is not None and "error" in answer:
                call.outcome.set_exception(Refused(answer["error"]))
            elif call is not None:
                call.outcome.set_result(answer.get("result"))

    def _send_calls(self):
        lowest = min(self._calls, default=self._call + 1)
        self._link.lowest_call = lowest
        for call in self._calls.values():
            is_answered = all(change.seq > call.behind for change in self._pending)
            if not call.on_its_way and is_answered:
                call.on_its_way = call.was_sent = True
                self._link.send("call", {**call.body, "lowestCall": lowest})

    def _settle(self):
        """After whatever happened: what became due."""
        if self._link is None or not self.is_live:
            return
        self._take_refusals()
        self._send_changes()
        self._take_answers()
        self._send_calls()
