"""A link to a master: "The connection" and "A link" of docs/PROTOCOL.md, over aiortc.

aiortc does not trickle: it gathers while the local description is set, and puts its candidates into the SDP, as the
document allows. The master's come as signals.
"""

import asyncio
import re
from collections import deque
from time import monotonic

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp

from frames import BULK, DEFAULT_FRAME_BYTES, MAX_FRAME_BYTES, ORDERED, URGENT, FrameReader, cut
from grammar import parse
from wire import Malformed, envelope, to_text

OPEN_SECONDS = 20
PING_SECONDS = 3
SILENCE_SECONDS = 10
GOODBYE_SECONDS = 1
MAX_GOODBYE_SECONDS = 5

MAX_MESSAGE_BYTES = 512 * 2**20

# Above this a call is bulk.
BULK_CHARACTERS = 65_536

# So much lies in the channel's own buffer, and the rest in lanes where what is urgent can overtake it.
MAX_BUFFERED_BYTES = 4 * MAX_FRAME_BYTES

URGENT_COMMANDS = {"ping", "pong", "goodbye"}


async def dial(names, name):
    """An open link to the master that serves the name."""
    servers = [RTCIceServer(**server) for server in names.ice_servers]
    peer = RTCPeerConnection(RTCConfiguration(iceServers=servers))
    channel = peer.createDataChannel("named-master", negotiated=True, id=0, ordered=True)
    opened = asyncio.Event()
    channel.on("open", opened.set)
    # Made now, because a frame may come as soon as the channel is open.
    link = Link(peer, channel)
    try:
        await peer.setLocalDescription(await peer.createOffer())
        offer = {"type": "offer", "sdp": peer.localDescription.sdp}
        result = await names.ask("connect", {"name": name, "offer": offer})
        await _open(peer, opened, result["answer"], names.signals(result["introduction"]))
        link.max_frame_bytes = _frame_bytes(result["answer"]["sdp"])
        return link
    except BaseException:
        await peer.close()
        raise


async def _open(peer, opened, answer, signals):
    await peer.setRemoteDescription(RTCSessionDescription(**answer))
    hearing = asyncio.create_task(_hear_candidates(peer, signals))
    try:
        await asyncio.wait_for(opened.wait(), OPEN_SECONDS)
    finally:
        hearing.cancel()


def _frame_bytes(sdp):
    """What the other end takes in one frame, and no more than is good for others. 0 is no limit."""
    said = re.search("^a=max-message-size:([0-9]+)", sdp, re.MULTILINE)
    taken = int(said[1]) if said else DEFAULT_FRAME_BYTES
    return min(taken or MAX_FRAME_BYTES, MAX_FRAME_BYTES)


async def _hear_candidates(peer, signals):
    while True:
        signal = await signals.get()
        if signal["candidate"] == "":
            await peer.addIceCandidate(None)
            return
        try:
            candidate = candidate_from_sdp(signal["candidate"].removeprefix("candidate:"))
            candidate.sdpMid, candidate.sdpMLineIndex = signal["sdpMid"], signal["sdpMLineIndex"]
            await peer.addIceCandidate(candidate)
        except (ValueError, AssertionError):
            pass  # One that the engine does not take is no failure.


class Link:
    """Messages both ways until it ends. What comes goes to `receive`, one message at a time."""

    def __init__(self, peer, channel):
        self._peer = peer
        self._channel = channel
        self._reader = FrameReader(MAX_MESSAGE_BYTES)
        self._lanes = {lane: deque() for lane in (URGENT, ORDERED, BULK)}
        self._turn = ORDERED
        self._early = []
        self._heard = monotonic()
        self.receive = self._early.append
        self.lowest_call = None
        self.max_frame_bytes = DEFAULT_FRAME_BYTES
        self.ended = asyncio.get_running_loop().create_future()
        channel.bufferedAmountLowThreshold = MAX_BUFFERED_BYTES // 2
        channel.on("message", self._read)
        channel.on("bufferedamountlow", self._pump)
        channel.on("close", lambda: self._end("closed", "The channel closed without a goodbye."))
        peer.on("connectionstatechange", self._watch_connection)

    def start(self, receive):
        """From now on `receive` is called with each message, and the other end has to be heard."""
        self.receive = receive
        for message in self._early:
            receive(message)
        self._pinging = asyncio.create_task(self._ping_on())

    @property
    def inflated(self):
        """How many deflated messages came."""
        return self._reader.inflated

    def send(self, command, payload, uuid=None, timestamp=None):
        message = parse("replication/up", envelope(command, payload, uuid, timestamp))
        lane = URGENT if command in URGENT_COMMANDS else ORDERED
        if command == "call" and len(to_text(message)) > BULK_CHARACTERS:
            lane = BULK
        self._lanes[lane].extend(cut(message, lane, self.max_frame_bytes))
        self._pump()

    async def close(self, code, sentence):
        """Says goodbye, waits until the other end has closed or is silent, and closes."""
        self._say_goodbye(code, sentence)
        latest = monotonic() + MAX_GOODBYE_SECONDS
        self._heard = monotonic()
        while self._channel.readyState != "closed" and monotonic() < min(self._heard + GOODBYE_SECONDS, latest):
            await asyncio.sleep(0.01)
        await self.cut()

    async def cut(self):
        """Closes without a word."""
        self._end("closed", "This end closed the link.")
        await self._peer.close()

    def fail(self, error):
        """Something came that cannot be: the link is closed with it."""
        self._say_goodbye(error.code, str(error))
        self._closing = asyncio.create_task(self.close(error.code, str(error)))

    def _say_goodbye(self, code, sentence):
        if self._channel.readyState == "open" and not self.ended.done():
            self.send("goodbye", {"code": code, "message": sentence[:2048]})
        self._end(code, sentence)

    def _end(self, code, message):
        if not self.ended.done():
            self.ended.set_result({"code": code, "message": message})

    def _watch_connection(self):
        if self._peer.connectionState in ("failed", "closed"):
            self._end("closed", f"The connection {self._peer.connectionState}.")

    def _pump(self):
        """Urgent ones first, ordered and bulk ones in turn, and never much at once."""
        while self._channel.readyState == "open" and self._channel.bufferedAmount < MAX_BUFFERED_BYTES:
            lane = URGENT if self._lanes[URGENT] else self._turn
            if not self._lanes[lane]:
                lane = ORDERED + BULK - lane
            if not self._lanes[lane]:
                return
            if lane != URGENT:
                self._turn = ORDERED + BULK - lane
            self._channel.send(self._lanes[lane].popleft())

    def _read(self, frame):
        self._heard = monotonic()
        if self.ended.done():
            return
        try:
            for raw in self._reader.read(frame):
                message = parse("replication/down", raw)
                self._mind(message)
                self.receive(message)
        except Malformed as error:
            self.fail(error)

    def _mind(self, message):
        """What is the link's own business."""
        if message["command"] == "ping":
            pong = {} if self.lowest_call is None else {"lowestCall": self.lowest_call}
            self.send("pong", pong, message["uuid"])
        elif message["command"] == "goodbye":
            self._end(**message["payload"])

    async def _ping_on(self):
        while not self.ended.done():
            if monotonic() - self._heard > SILENCE_SECONDS:
                return self.fail(Malformed("nobody was heard", code="silent"))
            self.send("ping", {})
            await asyncio.wait([self.ended], timeout=PING_SECONDS)
