"""A client in another language, led by a test: a line of JSON on stdin is a request, one on stdout an answer or news.

Request {id, do, with}, answer {id, result} or {id, error: {code, message}}, news {what, details}: what a slave tells its
program. Requests are carried out side by side. It ends with its stdin. See probe.test.ts.
"""

import asyncio
import json
import sys

from nameserver import Refused
from slave import Slave
from state import ABSENT


def appended(value):
    return lambda state: [{"op": "add", "path": "/items/-", "value": value}]


def doubled(_value):
    return lambda state: [{"op": "replace", "path": "/count", "value": 2 * state["count"]}]


def at_least(least):
    return lambda state: [] if state["count"] >= least else [{"op": "replace", "path": "/count", "value": least}]


MUTATORS = {"append": appended, "double": doubled, "atLeast": at_least}


class Probe:
    def __init__(self):
        self._slave = Slave(lambda what, details: say({"what": what, "details": details}))

    async def connect(self, url, name):
        self._slave.connect(url, name)

    async def look(self):
        """Without `state` there is none."""
        replica = self._slave.replica
        shown = {} if replica.state is ABSENT else {"state": replica.state}
        return {"position": replica.position, "inflated": self._slave.link.inflated, **shown}

    async def change(self, changes):
        """Several in one turn: none of them has seen what became of those before."""
        replica, made = self._slave.replica, []
        for change in changes:
            if "emit" in change:
                made.append(replica.emit(change["emit"], change["payload"]))
            else:
                made.append(replica.mutate(MUTATORS[change["mutate"]](change.get("value"))))
        outcomes = await asyncio.gather(*(change.outcome for change in made), return_exceptions=True)
        return [
            {"runs": change.runs, **({"code": outcome.code} if isinstance(outcome, Refused) else {"version": outcome})}
            for change, outcome in zip(made, outcomes)
        ]

    async def call(self, method, params):
        return await self._slave.replica.call(method, params).outcome

    async def volatile(self, event, payload):
        self._slave.replica.volatile(event, payload)

    async def cut(self):
        await self._slave.cut()

    async def come_back(self):
        self._slave.come_back()

    async def disconnect(self):
        await self._slave.disconnect()


def say(line):
    print(json.dumps(line), flush=True)


async def answer(probe, request):
    try:
        say({"id": request["id"], "result": await getattr(probe, request["do"])(**request["with"])})
    except Refused as error:
        say({"id": request["id"], "error": {"code": error.code, "message": error.sentence}})
    except Exception as error:
        say({"id": request["id"], "error": {"code": "internal", "message": repr(error)}})


async def main():
    lines = asyncio.StreamReader(limit=2**26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    probe, running = Probe(), set()
    while line := await lines.readline():
        task = asyncio.create_task(answer(probe, json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    await probe.disconnect()


if __name__ == "__main__":
    asyncio.run(main())
