"""A client of the name server, as a slave needs it: "The name server" of docs/PROTOCOL.md."""

import asyncio

import socketio

from grammar import parse, parse_result
from wire import VERSION, Malformed, envelope

SOCKET_PATH = "named-master/socket.io"

# Longer than the 10 s that a master has for its answer.
ANSWER_SECONDS = 15

# By itself a waiting slave tries once a minute.
WATCH_SECONDS = 60


class Refused(Exception):
    """An answer that is an error, or the code a link was closed with."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.sentence = error["message"]


class NameServer:
    def __init__(self, url):
        self._url = url
        self._socket = socketio.AsyncClient(reconnection_delay=0.5, reconnection_delay_max=5)
        self._socket.on("message", self._receive)
        self._socket.on("disconnect", lambda *_: self._welcome.clear())
        self._welcome = asyncio.Event()
        self._signals = {}
        self._available = {}
        self.ice_servers = []

    async def connect(self):
        """Waits for the welcome: nothing may be asked before."""
        if not self._socket.connected:
            await self._socket.connect(self._url, socketio_path=SOCKET_PATH)
        await self._welcome.wait()
        if not self._versions["oldest"] <= VERSION <= self._versions["newest"]:
            raise Refused({"code": "unsupported-version", "message": f"The name server speaks {self._versions}."})

    async def ask(self, command, payload):
        """The result; raises Refused for an error."""
        request = parse("naming/client", envelope(command, payload))
        raw = await self._socket.call("message", request, timeout=ANSWER_SECONDS)
        answer = parse("naming/acknowledgement", raw)
        if answer["uuid"] != request["uuid"]:
            raise Malformed("the answer is to another request", "/uuid")
        if answer["command"] == "error":
            raise Refused(answer["payload"])
        return parse_result(command, answer["payload"])

    async def wait_for(self, name):
        """Returns when the name is up, or when it is time to look again."""
        came_up = self._available.setdefault(name, asyncio.Event())
        came_up.clear()
        if (await self.ask("watch", {"name": name}))["live"]:
            return
        try:
            await asyncio.wait_for(came_up.wait(), WATCH_SECONDS)
        except asyncio.TimeoutError:
            await self.ask("unwatch", {"name": name})

    def signals(self, introduction):
        """A queue of the other end's candidates, those included that came before the introduction was known."""
        return self._signals.setdefault(introduction, asyncio.Queue())

    async def close(self):
        await self._socket.disconnect()

    async def _receive(self, raw):
        message = parse("naming/server", raw)
        payload = message["payload"]
        if message["command"] == "welcome":
            self._versions = payload["versions"]
            self.ice_servers = payload["iceServers"]
            self._welcome.set()
        elif message["command"] == "signal":
            self.signals(payload["introduction"]).put_nowait(payload["candidate"])
        elif message["command"] == "ended":
            self._signals.pop(payload["introduction"], None)
        elif message["command"] == "available" and payload["name"] in self._available:
            self._available[payload["name"]].set()
