"""A slave that stays with a name: it joins, comes back after a loss, and waits where the name is not up."""

import asyncio
import random
from time import monotonic

from link import dial
from nameserver import NameServer, Refused
from replica import Replica
from wire import Malformed

FIRST_PAUSE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 10
WELCOME_SECONDS = 20

# "goodbye" of docs/PROTOCOL.md: the program is told, and nothing is tried again.
FINAL_CODES = {"refused", "not-allowed", "unsupported-version", "invalid-name"}
ABSENT_CODES = {"no-such-master", "master-offline", "stopped"}


class Slave:
    def __init__(self, tell):
        self._tell = tell
        self.replica = Replica(tell)
        self._names = None
        self._pursuit = None
        self._may_dial = asyncio.Event()
        self._may_dial.set()
        self.link = None

    def connect(self, url, name):
        self._names = NameServer(url)
        self._pursuit = asyncio.create_task(self._pursue(name))

    async def disconnect(self):
        if self._pursuit is not None:
            self._pursuit.cancel()
        if self.link is not None:
            await self.link.close("closed", "The program called disconnect().")
        if self._names is not None:
            await self._names.close()

    async def cut(self):
        """Loses the link as a network does, and does not come back before it may."""
        self._may_dial.clear()
        await self.link.cut()

    def come_back(self):
        self._may_dial.set()

    async def _pursue(self, name):
        pause = FIRST_PAUSE_SECONDS
        while True:
            await self._may_dial.wait()
            try:
                await self._names.connect()
                end = await self._serve(await dial(self._names, name))
                pause = FIRST_PAUSE_SECONDS
            except Refused as error:
                end = {"code": error.code, "message": error.sentence}
            except Exception as error:  # Whatever failed on the way: a later try may succeed.
                end = {"code": "unreachable", "message": repr(error)}
            self._tell("ended", end)
            if end["code"] in FINAL_CODES:
                return
            if end["code"] in ABSENT_CODES:
                await self._names.wait_for(name)
                continue
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    async def _serve(self, link):
        """Until the link ends; answers its last words."""
        self.link = link
        self.replica.hello(link)
        link.start(self._receive)
        try:
            await self._expect_state(link)
            return await link.ended
        finally:
            self.replica.unlink()
            await link.cut()

    async def _expect_state(self, link):
        """A master that sends only heartbeats is given up."""
        self._progress = monotonic()
        while not self.replica.is_live and not link.ended.done():
            left = self._progress + WELCOME_SECONDS - monotonic()
            if left <= 0:
                return link.fail(Malformed("the state did not come in time", code="timeout"))
            await asyncio.wait([link.ended, self.replica.joined], timeout=left, return_when=asyncio.FIRST_COMPLETED)

    def _receive(self, message):
        if message["command"] != "pong":
            self._progress = monotonic()
        try:
            self.replica.receive(message)
        except Malformed:
            self.replica.forget_position()
            raise
