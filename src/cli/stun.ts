/**
 * One STUN binding request (RFC 8489) over UDP: does the server answer, and as what does it see us?
 *
 * Promises: every wait ends and the socket with it; only the answer to this request counts. By hand, because an engine
 * does not tell: where there is no NAT it drops what a STUN server gave (docs/decisions/stun-by-hand.md).
 */
import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import type { LookupAddress } from 'node:dns'

const BINDING_REQUEST = 0x0001
const BINDING_SUCCESS = 0x0101
const BINDING_ERROR = 0x0111
const MAGIC_COOKIE = 0x2112a442
const XOR_MAPPED_ADDRESS = 0x0020
const IPV6_FAMILY = 2
const HEADER_BYTES = 20

/** The message goes on after the server's address: "does not answer". */
export class NoAnswer extends Error {}

/** Milliseconds before the request is sent again, doubled each time (RFC 8489 section 6.2.1): UDP loses packets. */
const RETRANSMIT_MS = 500

/**
 * Our address as the server sees it.
 * @param signal ends the wait
 * @throws NoAnswer
 */
export function askStun({ address, family }: LookupAddress, port: number, signal: AbortSignal): Promise<string> {
  const request = Buffer.alloc(HEADER_BYTES)
  request.writeUInt16BE(BINDING_REQUEST, 0)
  request.writeUInt32BE(MAGIC_COOKIE, 4)
  randomBytes(12).copy(request, 8)
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4')
  return new Promise<string>((resolve, reject) => {
    let timer: NodeJS.Timeout | undefined
    const end = (settle: () => void): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', late)
      for (const event of ['connect', 'message', 'error']) socket.removeAllListeners(event)
      // What it may still say while it closes.
      socket.on('error', () => undefined).close()
      settle()
    }
    const fail = (reason: string): void => end(() => reject(new NoAnswer(reason)))
    const late = () => fail('does not answer')
    const send = (pause: number): void => {
      socket.send(request)
      timer = setTimeout(() => send(2 * pause), pause)
    }
    signal.addEventListener('abort', late)
    socket.once('connect', () => send(RETRANSMIT_MS))
    // What ICMP tells, such as that nobody listens at the port.
    socket.once('error', ({ message }) => fail(`does not answer (${message})`))
    socket.on('message', (answer) => {
      if (answer.length < HEADER_BYTES || !answer.subarray(4, HEADER_BYTES).equals(request.subarray(4))) return
      const type = answer.readUInt16BE(0)
      const mapped = type === BINDING_SUCCESS ? mappedAddress(answer) : undefined
      if (mapped !== undefined) end(() => resolve(mapped))
      else if (type === BINDING_SUCCESS || type === BINDING_ERROR) fail('answers with an error')
    })
    // Connected: so that ICMP is heard, and only the server.
    if (signal.aborted) late()
    else socket.connect(port, address)
  })
}

/** XOR-MAPPED-ADDRESS: the address with the cookie and the transaction over it, so that no router rewrites it. */
function mappedAddress(answer: Buffer): string | undefined {
  let at = HEADER_BYTES
  while (at + 4 <= answer.length) {
    const type = answer.readUInt16BE(at)
    const value = answer.subarray(at + 4, at + 4 + answer.readUInt16BE(at + 2))
    const whole = value.length === answer.readUInt16BE(at + 2) && value.length === (value[1] === IPV6_FAMILY ? 20 : 8)
    if (type === XOR_MAPPED_ADDRESS && whole) {
      const bytes = [...value.subarray(4)].map((byte, i) => byte ^ (answer[4 + i] ?? 0))
      if (value[1] !== IPV6_FAMILY) return bytes.join('.')
      const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0))
      return new URL(`http://[${groups.map((group) => group.toString(16)).join(':')}]`).hostname.slice(1, -1)
    }
    // Each begins at a multiple of four.
    at += 4 + Math.ceil(value.length / 4) * 4
  }
  return undefined
}
