/**
 * The master's door: from an introduction to a link that has said hello.
 *
 * Promises: nothing is allocated before the limit is checked; a stranger gets 64 KiB, one kind of message and ten
 * seconds; a connection that does not open is closed; whoever is let in is the caller's from then on.
 */
import type { Clock } from '../clock.js'
import { NamedMasterError, type ErrorCode } from '../errors.js'
import type { Channel } from '../link/channel.js'
import { Connection } from '../link/datachannel.js'
import { createLink, type Link } from '../link/link.js'
import { loadRtc, type RtcEngine } from '#rtc'
import type { ResultOf, ServerPayload } from '../protocol/naming.js'
import { parseUp, type Down, type Up, type UpPayload } from '../protocol/replication.js'
import { OLDEST_VERSION, PROTOCOL_VERSION } from '../protocol/version.js'
import type { NameClient } from '../signal/name-client.js'

/** Bytes of one message from a slave. A change larger than this is better a file. */
const MAX_UP_MESSAGE_BYTES = 16 * 1024 * 1024
/** Bytes a link may send before its slave was welcomed. */
const STRANGER_BYTES = 64 * 1024
/** From an introduction to an open channel, in milliseconds: a slow TURN allocation takes seconds. */
const OPEN_TIMEOUT_MS = 30_000
/** Part of the places that connections may take which have not opened: the rest is kept from who only knocks. */
const OPENING_SHARE = 1 / 2
/** But as many as a family's devices may always open at once. */
const LEAST_OPENING = 16
/** From when on one that has not opened makes room for another, in milliseconds: on a good path it takes a tenth. */
const SURE_OPENING_MS = 2000
/** From an open channel to a hello, in milliseconds. */
const HELLO_TIMEOUT_MS = 10_000
/** Between pings to a slave, in milliseconds: three of them go missing before it counts as dead. */
const PING_MS = 3000
/** Silence after which a slave counts as dead, in milliseconds; browsers wake a hidden page once a minute only. */
const SILENCE_MS = 10_000
const HIDDEN_SILENCE_MS = 90_000

const NOT_SERVED = 'This master does not serve that name now'

export type SlaveLink = Link<Up, Down>

export interface AdmissionOptions {
  readonly names: NameClient
  readonly clock: Clock
  readonly rtc: RtcEngine | undefined
  readonly iceTransportPolicy: RTCIceTransportPolicy
  readonly maxSlaves: number
  /** The name served now. */
  readonly serves: () => string | undefined
  /** A slave has said hello, in a version we speak. */
  readonly admitted: (link: SlaveLink, hello: UpPayload<'hello'>) => void
}

interface Entry {
  readonly connection: Connection
  readonly since: number
  opened: boolean
  /** The slave has our answer, and has not said hello. */
  waits: boolean
}

export class Admission {
  readonly #options: AdmissionOptions
  /** By the id of their introduction. */
  readonly #connections = new Map<string, Entry>()
  readonly #strangers = new Set<SlaveLink>()
  /** Links whose page said that it is in the background. */
  readonly #hidden = new WeakSet<SlaveLink>()
  /** What those are told who come in at the very moment when the name is gone. */
  #farewell: { readonly code: ErrorCode; readonly message: string } = { code: 'stopped', message: NOT_SERVED }

  constructor(options: AdmissionOptions) {
    this.#options = options
    const { names } = options
    names.onIntroduction = (introduction) => this.#introduce(introduction)
    names.events.on('signal', ({ introduction, candidate }) => {
      this.#connections.get(introduction)?.connection.addCandidate(candidate)
    })
    // The slave is gone from the name server: what is not open by now will not open.
    names.events.on('ended', (introduction) => {
      const entry = this.#connections.get(introduction)
      if (entry?.opened === false) void entry.connection.close()
    })
  }

  /** Closes what is not let in yet, and every connection: those let in are to be closed by their owner before. */
  async dismiss(code: ErrorCode, message: string): Promise<void> {
    this.#farewell = { code, message }
    await Promise.all([...this.#strangers].map((link) => link.close(code, message)))
    for (const [introduction, { waits }] of this.#connections) if (waits) this.#end(introduction)
    await Promise.all([...this.#connections.values()].map(({ connection }) => connection.close()))
  }

  /** Who waits for this connection to open need not wait for its deadline. */
  #end(introduction: string): void {
    this.#options.names.request('end', { introduction }).catch(() => {
      // It has ended, or the name server is gone: the slave's own deadline tells.
    })
  }

  async #introduce({ introduction, name, offer }: ServerPayload<'introduction'>): Promise<ResultOf<'introduction'>> {
    const { names, clock, iceTransportPolicy, maxSlaves, serves } = this.#options
    const demandServed = (): void => {
      if (name !== serves()) throw new NamedMasterError('master-offline', NOT_SERVED)
    }
    demandServed()
    if (!this.#hasRoom()) {
      throw new NamedMasterError('too-many', `The master has ${maxSlaves} slaves already: try later`)
    }
    const rtc = this.#options.rtc ?? (await loadRtc())
    // Another may have taken the name meanwhile: a connection made now would outlive the dismissal of all.
    demandServed()
    const connection = Connection.answering(rtc, { iceServers: names.iceServers, iceTransportPolicy, clock })
    const entry: Entry = { connection, since: clock.now(), opened: false, waits: false }
    this.#connections.set(introduction, entry)
    const deadline = clock.setTimeout(() => void connection.close(), OPEN_TIMEOUT_MS)
    connection.events.on('candidate', (candidate) => {
      names.request('signal', { introduction, candidate }).catch(() => {
        // Whoever it was for is gone, or the name server is: the deadline tells.
      })
    })
    connection.events.on('open', (channel) => {
      clock.clearTimeout(deadline)
      entry.opened = true
      names.request('opened', { introduction }).catch(() => {
        // The introduction ends by itself then.
      })
      this.#greet(this.#link(channel), name, entry)
    })
    connection.events.on('closed', () => {
      clock.clearTimeout(deadline)
      this.#connections.delete(introduction)
    })
    try {
      const answer = await connection.answer(offer)
      demandServed()
      entry.waits = true
      return { answer }
    } catch (error) {
      void connection.close()
      throw error
    }
  }

  /** Whether there is a place for one more; the oldest that knocked and did not come in gives up its own. */
  #hasRoom(): boolean {
    const { maxSlaves, clock } = this.#options
    const opening = [...this.#connections.values()].filter(({ opened }) => !opened)
    if (this.#connections.size < maxSlaves && opening.length < Math.max(LEAST_OPENING, maxSlaves * OPENING_SHARE))
      return true
    const [oldest] = opening
    if (oldest === undefined || clock.now() - oldest.since < SURE_OPENING_MS) return false
    void oldest.connection.close()
    return true
  }

  #link(channel: Channel): SlaveLink {
    const link: SlaveLink = createLink<Up, Down>(channel, {
      parse: parseUp,
      maxMessageBytes: MAX_UP_MESSAGE_BYTES,
      strangerBytes: STRANGER_BYTES,
      heartbeat: {
        interval: PING_MS,
        silence: () => (this.#hidden.has(link) ? HIDDEN_SILENCE_MS : SILENCE_MS),
      },
      clock: this.#options.clock,
    })
    link.events.on('message', (message) => {
      if (message.command !== 'pong') return
      if (message.payload.hidden === true) this.#hidden.add(link)
      else this.#hidden.delete(link)
    })
    return link
  }

  /** A link is a stranger until it has said hello; anything else it says ends it. */
  #greet(link: SlaveLink, name: string, entry: Entry): void {
    const { clock, admitted, serves } = this.#options
    this.#strangers.add(link)
    const deadline = clock.setTimeout(
      () => void link.close('silent', 'No hello came within 10 seconds'),
      HELLO_TIMEOUT_MS,
    )
    const done = (): void => {
      clock.clearTimeout(deadline)
      this.#strangers.delete(link)
      for (const off of offs) off()
    }
    const offs = [
      link.events.on('message', (message) => {
        if (message.command === 'pong') return
        done()
        entry.waits = false
        if (message.command !== 'hello') void link.close('invalid-message', 'The first message must be hello')
        else if (name !== serves()) void link.close(this.#farewell.code, this.#farewell.message)
        else if (speaks(message.payload)) admitted(link, message.payload)
        else
          void link.close('unsupported-version', `The master speaks protocol ${OLDEST_VERSION} to ${PROTOCOL_VERSION}`)
      }),
      link.events.on('close', done),
    ]
  }
}

const speaks = ({ versions }: UpPayload<'hello'>): boolean =>
  versions.newest >= OLDEST_VERSION && versions.oldest <= PROTOCOL_VERSION
