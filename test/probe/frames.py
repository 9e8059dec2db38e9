"""Envelopes as frames of a data channel, and back: "Frames" of docs/PROTOCOL.md."""

import zlib

from wire import Malformed, parse_text, to_text

URGENT, ORDERED, BULK = 0, 1, 2
LANE, DEFLATED, LAST = 0x3F, 0x40, 0x80

# What is sent keeps other envelopes waiting no longer than one such frame takes.
MAX_FRAME_BYTES = 65_536
# What an end takes whose SDP does not say.
DEFAULT_FRAME_BYTES = 65_536


class FrameReader:
    """Joins what comes, and counts what was inflated. `deflate` is False at a master, which takes no deflated message."""

    def __init__(self, max_message_bytes, deflate=True):
        self._most = max_message_bytes
        self._deflate = deflate
        self._open = {}
        self.inflated = 0

    def read(self, frame):
        """The envelopes that this frame completes, not parsed; raises Malformed, and then the link is to be closed."""
        if isinstance(frame, str):
            if len(frame.encode("utf-8", "surrogatepass")) > self._most:
                raise Malformed("a larger text than is taken", code="too-large")
            values = parse_text(frame)
            if not isinstance(values, list):
                raise Malformed("a text frame is a list")
            return values
        message = self._join(frame)
        return [] if message is None else [message]

    def _join(self, frame):
        if len(frame) < 2:
            raise Malformed("a piece without content")
        head = frame[0]
        lane, deflated = head & LANE, bool(head & DEFLATED)
        if lane > BULK:
            raise Malformed(f"there is no lane {lane}")
        if deflated and not self._deflate:
            raise Malformed("a deflated message to a master")
        was_deflated, joined = self._open.setdefault(lane, (deflated, bytearray()))
        if was_deflated != deflated:
            raise Malformed("a message that is deflated in part")
        joined += frame[1:]
        if len(joined) > self._most:
            raise Malformed("a larger message than is taken", code="too-large")
        if not head & LAST:
            return None
        del self._open[lane]
        content = bytes(joined)
        if deflated:
            content = inflate(content, self._most)
            self.inflated += 1
        try:
            return parse_text(content.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise Malformed(str(error)) from None


def inflate(content, most):
    """Raw DEFLATE, no further than `most` bytes."""
    stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        result = stream.decompress(content, most + 1)
    except zlib.error as error:
        raise Malformed(f"no DEFLATE: {error}") from None
    if len(result) > most:
        raise Malformed("a message that inflates to more than is taken", code="too-large")
    if not stream.eof or stream.unused_data:
        raise Malformed("no DEFLATE: it ends elsewhere than the message")
    return result


def cut(message, lane, max_frame_bytes):
    """An envelope as frames: one text where it fits, else pieces."""
    alone = to_text([message])
    if len(alone.encode()) <= max_frame_bytes:
        return [alone]
    content, step = to_text(message).encode(), max_frame_bytes - 1
    starts = range(0, len(content), step)
    return [bytes([lane | (LAST if at == starts[-1] else 0)]) + content[at : at + step] for at in starts]
