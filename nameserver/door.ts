/**
 * Socket.IO: who may come in, and every message parsed, limited, handled and answered.
 *
 * Promises: nothing a client sends ends the process, or is noticed by another client; a message that does not parse is
 * answered `invalid-message`, and who sends many is closed; a dead socket is found within 9 s (limits.ts). What the
 * messages mean is naming.ts. Reconnecting is the client's part: sockets are closed below Socket.IO, whose own
 * `disconnect` would tell the client to stay away.
 */
import type { IncomingMessage, Server as HttpServer } from 'node:http'
import { Server, type Socket } from 'socket.io'
import type { Clock } from '../src/clock.js'
import { NamedMasterError } from '../src/errors.js'
import type { Log } from '../src/log.js'
import { envelope } from '../src/protocol/envelope.js'
import { parseClientMessage, SOCKET_PATH, type ClientMessage, type IceServer } from '../src/protocol/naming.js'
import { OLDEST_VERSION, PROTOCOL_VERSION } from '../src/protocol/version.js'
import type { Post } from './introductions.js'
import {
  addressGroup,
  JOIN_TIMEOUT_MS,
  MAX_MESSAGE_BYTES,
  MAX_UNREAD_PACKETS,
  packetBucket,
  SocketAllowance,
  type Limits,
} from './limits.js'
import type { Commands, Reply, Speaker } from './naming.js'

export interface DoorOptions {
  /** `'*'`, or the origins of the pages that may come in. Who sends no origin is no page, and comes in. */
  readonly origins: '*' | readonly string[]
  /** The proxy in front says who the client is, in the last entry of X-Forwarded-For. */
  readonly trustProxy: boolean
  readonly limits: Limits
  readonly pingInterval: number
  readonly pingTimeout: number
  readonly iceServers: () => IceServer[]
  readonly clock: Clock
  readonly log: Log
}

export interface Door {
  readonly post: Post
  readonly sockets: number
  /** Lets clients in. */
  open(commands: Commands, gone: (socket: string) => Promise<void>): void
  /** Tells all what changed in the ICE servers. */
  welcomeAgain(): void
  close(): Promise<void>
}

/** What is used of an Engine.IO socket. */
interface EngineConnection {
  readonly request: IncomingMessage
  /** What waits for the transport. */
  readonly writeBuffer: readonly unknown[]
  on(event: 'packet' | 'packetCreate', listener: () => void): void
  once(event: 'close', listener: () => void): void
  /** @param discard what waits is not sent any more */
  close(discard: boolean): void
}

/** @param http is this door's own: its `request` and `upgrade` are emitted for SOCKET_PATH, and it never listens */
export function createDoor(http: HttpServer, options: DoorOptions): Door {
  const { origins, trustProxy, limits, clock, log } = options
  const perAddress = new Map<string, number>()

  const addressOf = (request: IncomingMessage): string => {
    const forwarded = trustProxy
      ? String(request.headers['x-forwarded-for'] ?? '')
          .split(',')
          .at(-1)
          ?.trim()
      : undefined
    return addressGroup(forwarded || (request.socket.remoteAddress ?? ''))
  }
  const refusal = (request: IncomingMessage): string | undefined => {
    const { origin } = request.headers
    if (origins !== '*' && origin !== undefined && !origins.includes(origin)) return 'not-allowed'
    if ((perAddress.get(addressOf(request)) ?? 0) >= limits.socketsPerAddress) return 'too-many'
    return undefined
  }

  const io = new Server({
    path: SOCKET_PATH,
    serveClient: false,
    transports: ['polling', 'websocket'],
    maxHttpBufferSize: MAX_MESSAGE_BYTES,
    pingInterval: options.pingInterval,
    pingTimeout: options.pingTimeout,
    connectTimeout: JOIN_TIMEOUT_MS,
    cors: { origin: origins === '*' ? '*' : [...origins] },
    // CORS protects the answers of polling only; a websocket has to be refused here.
    allowRequest: (request, decide) => {
      const reason = refusal(request)
      if (reason !== undefined)
        log('warn', `A connection was refused: ${reason}`, {
          address: addressOf(request),
          origin: request.headers.origin,
        })
      decide(reason ?? null, reason === undefined)
    },
  })
  io.attach(http)
  // A connection counts from its first byte, whether it joins or not.
  io.engine.on('connection', (connection: EngineConnection) => {
    const address = addressOf(connection.request)
    perAddress.set(address, (perAddress.get(address) ?? 0) + 1)
    connection.once('close', () => {
      const left = (perAddress.get(address) ?? 1) - 1
      if (left > 0) perAddress.set(address, left)
      else perAddress.delete(address)
    })
    // What comes and goes below the messages (namespaces, answers that nobody reads) has its bounds here.
    const packets = packetBucket(limits, clock)
    const end = (why: string, discard: boolean) => {
      log('warn', `A client was closed: ${why}`, { address })
      connection.close(discard)
    }
    connection.on('packet', () => {
      if (!packets.take()) end('it said more than it may', false)
    })
    connection.on('packetCreate', () => {
      if (connection.writeBuffer.length === MAX_UNREAD_PACKETS) end('it does not read', true)
    })
  })

  const live = io.sockets.sockets
  const post: Post = {
    tell: (socket, message) => void live.get(socket)?.emit('message', message),
    ask: (socket, message, answer) => void live.get(socket)?.emit('message', message, answer),
    alive: (socket) => live.has(socket),
  }
  const welcome = (socket: Socket) => {
    const versions = { oldest: OLDEST_VERSION, newest: PROTOCOL_VERSION }
    socket.emit('message', envelope('welcome', { versions, iceServers: options.iceServers() }))
  }

  return {
    post,
    get sockets() {
      return live.size
    },
    open(commands, gone) {
      io.on('connection', (socket) => {
        const allowance = new SocketAllowance(limits, clock)
        const speaker: Speaker = { socket: socket.id, address: addressOf(socket.request), allowance }
        log('debug', 'A client came in', { socket: socket.id })
        welcome(socket)
        const fault = () => {
          if (allowance.fault()) return
          log('warn', 'A client was closed for what it sent', { socket: socket.id, address: speaker.address })
          socket.conn.close()
        }
        socket.on('message', (message: unknown, acknowledge: unknown) => {
          receive(commands, speaker, message, replier(acknowledge), fault, log).catch((error: unknown) => {
            log('error', 'What followed an answer failed', { error })
          })
        })
        socket.onAny((event: string) => {
          if (event !== 'message') fault()
        })
        socket.on('disconnect', (reason) => {
          log('debug', 'A client is gone', { socket: socket.id, reason })
          gone(socket.id).catch((error: unknown) => log('error', 'A socket could not be forgotten', { error }))
        })
      })
    },
    welcomeAgain() {
      for (const socket of live.values()) welcome(socket)
    },
    close: () => io.close(),
  }
}

type Replier = (answer: unknown) => void

/** Who gives no acknowledgement function wants no answer. */
const replier = (acknowledge: unknown): Replier =>
  typeof acknowledge === 'function' ? (acknowledge as Replier) : () => undefined

/** One message, from the door to its answer. */
async function receive(
  commands: Commands,
  from: Speaker,
  raw: unknown,
  reply: Replier,
  fault: () => void,
  log: Log,
): Promise<void> {
  const parsed = parseClientMessage(raw)
  let outcome: Reply<keyof Commands>
  try {
    from.allowance.message()
    if (!parsed.ok) throw new NamedMasterError('invalid-message', `${parsed.path}: ${parsed.reason}`)
    outcome = await handle(commands, parsed.value, from)
  } catch (thrown) {
    const error = NamedMasterError.from(thrown, 'internal', 'The name server failed at this: see its log')
    // What was refused is the client's business; what failed is the operator's.
    if (error.cause !== undefined) log('error', error.message, { code: error.code, cause: error.cause })
    reply(envelope('error', error.toFault(), uuidOf(raw)))
    // A busy master's `too-many` is no fault of who asked it.
    if (!parsed.ok || (error.code === 'too-many' && !error.remote)) fault()
    return
  }
  reply(envelope('result', outcome.result, uuidOf(raw)))
  await outcome.afterwards?.()
}

/** The one place where the command and its payload lose their tie: they were parsed together. */
function handle(
  commands: Commands,
  { command, payload }: ClientMessage,
  from: Speaker,
): Promise<Reply<keyof Commands>> {
  const act = commands[command] as (payload: unknown, from: Speaker) => Promise<Reply<keyof Commands>>
  return act(payload, from)
}

/** The request's, if it had one: an answer names what it answers. */
function uuidOf(raw: unknown): string | undefined {
  const uuid = (raw as { uuid?: unknown } | null | undefined)?.uuid
  return typeof uuid === 'string' && uuid.length <= 64 ? uuid : undefined
}
