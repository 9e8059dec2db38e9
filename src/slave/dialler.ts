/**
 * From a name to an open channel: look-up, introduction and negotiation.
 *
 * Promises: one request to the name server a try, with the offer in it; after an answer of "not there" the connection made
 * for the offer is kept for the next try, so that an hour of absence costs one, and who begins anew looks first and makes
 * none (a browser has 500 for a page's life); every wait ends; a failure says what to do.
 */
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError } from '../errors.js'
import { loadRtc, type RtcEngine } from '#rtc'
import type { Channel } from '../link/channel.js'
import { Connection, type ServerFault } from '../link/datachannel.js'
import type { Candidate, Description } from '../protocol/naming.js'
import type { NameClient } from '../signal/name-client.js'
import { diagnose } from './diagnosis.js'

/** See DiallerOptions.timeout. */
const OPEN_TIMEOUT_MS = 20_000
/** What is left of that once ICE has given up, which it may do before late candidates have come. */
const AFTER_FAILED_MS = 5000
/** ... and once gathering has ended with nothing, where only relays may be used and none let us in. */
const AFTER_NOTHING_MS = 2000
/** Signals that overtake their own introduction. */
const MAX_EARLY_SIGNALS = 64
/** Of the master's candidates, to say why none led here; an end gathers about ten. */
const MAX_REMEMBERED = 64

export interface DiallerOptions {
  readonly rtc?: RtcEngine
  readonly iceTransportPolicy?: RTCIceTransportPolicy
  /** Milliseconds from the master's answer to an open channel; default 20,000, because relays over a slow path take seconds. */
  readonly timeout?: number
  /** The name was not there when it was last asked for: ask again before a connection is made for it. */
  readonly lookFirst?: boolean
  readonly clock?: Clock
}

export class Dialler {
  readonly #names: NameClient
  readonly #options: DiallerOptions
  readonly #policy: RTCIceTransportPolicy
  readonly #clock: Clock
  #lookFirst: boolean
  /** Offered, and never answered. */
  #spare: Connection | undefined

  constructor(names: NameClient, options: DiallerOptions = {}) {
    this.#names = names
    this.#options = options
    this.#policy = options.iceTransportPolicy ?? 'all'
    this.#clock = options.clock ?? systemClock
    this.#lookFirst = options.lookFirst ?? false
  }

  /**
   * @throws NamedMasterError `no-such-master`, `master-offline`, `refused`, `too-many`, `unreachable`,
   * `name-server-unreachable`, `timeout`, `aborted`
   */
  async dial(name: string, signal: AbortSignal): Promise<Channel> {
    await this.#names.connect({ signal })
    if (this.#lookFirst) await this.#look(name, signal)
    this.#lookFirst = false
    const connection = this.#spare ?? (await this.#offering())
    this.#spare = connection
    connection.setIceServers(this.#names.iceServers)
    const offer = await connection.description()
    const signals = new Signals(this.#names, connection)
    try {
      const { introduction, answer } = await this.#names.request('connect', { name, offer }, { signal })
      this.#spare = undefined
      const channel = await this.#open(connection, signals, introduction, answer, signal)
      signals.linger()
      return channel
    } catch (error) {
      signals.stop()
      if (this.#spare !== connection) void connection.close()
      throw error
    }
  }

  async #offering(): Promise<Connection> {
    const { rtc = await loadRtc() } = this.#options
    return Connection.offering(rtc, { clock: this.#clock, iceTransportPolicy: this.#policy })
  }

  /** An answer, without an offer that somebody would have to be connected to. @throws no-such-master, master-offline */
  async #look(name: string, signal: AbortSignal): Promise<void> {
    const { live, registered } = await this.#names.request('watch', { name }, { signal })
    if (live) return
    throw registered === false
      ? new NamedMasterError('no-such-master', `Nobody has registered "${name}": check the name`, { remote: true })
      : new NamedMasterError('master-offline', `The master of "${name}" is not there now`, { remote: true })
  }

  async close(): Promise<void> {
    const spare = this.#spare
    this.#spare = undefined
    await spare?.close()
  }

  #open(
    connection: Connection,
    signals: Signals,
    introduction: string,
    answer: Description,
    signal: AbortSignal,
  ): Promise<Channel> {
    const { timeout = OPEN_TIMEOUT_MS } = this.#options
    return new Promise<Channel>((resolve, reject) => {
      const offs: (() => void)[] = []
      const finish = (): void => {
        for (const off of offs) off()
        this.#clock.clearTimeout(deadline)
      }
      const give = (error: unknown): void => {
        finish()
        reject(NamedMasterError.from(error, 'unreachable', 'The connection could not be negotiated'))
      }
      const unreachable = (): void => {
        const { own, theirs, faults } = signals
        const search = { servers: this.#names.iceServers, policy: this.#policy, own, theirs, faults }
        give(new NamedMasterError('unreachable', diagnose(search)))
      }
      const gone = (): void => give(new NamedMasterError('master-offline', 'The master went away while connecting'))
      const aborted = (): void => give(new NamedMasterError('aborted', 'The connection was given up'))
      const giveUpAfter = (ms: number): void => {
        this.#clock.clearTimeout(deadline)
        deadline = this.#clock.setTimeout(unreachable, ms)
      }
      let deadline = this.#clock.setTimeout(unreachable, timeout)
      signal.addEventListener('abort', aborted)
      offs.push(
        () => signal.removeEventListener('abort', aborted),
        connection.events.on('open', (channel) => {
          finish()
          resolve(channel)
        }),
        connection.events.on('closed', (cause) => {
          const sentence = 'The connection was closed before it had opened: connect again'
          give(new NamedMasterError('unreachable', sentence, { cause }))
        }),
        connection.events.on('candidate', ({ candidate }) => {
          // Not at once: in a busy process wrtc was seen to tell the end of the list before the list.
          if (this.#policy === 'relay' && signals.own.length <= 1)
            giveUpAfter(candidate === '' && signals.own.length === 0 ? AFTER_NOTHING_MS : timeout)
        }),
        connection.events.on('failed', () => giveUpAfter(AFTER_FAILED_MS)),
        this.#names.events.on('ended', (ended) => ended === introduction && gone()),
      )
      if (signal.aborted) aborted()
      if (signals.ended === introduction) return gone()
      signals.begin(introduction, answer)
      connection.accept(answer).catch(give)
    })
  }
}

/** Carries candidates both ways for one introduction, and remembers them; what comes before its id is known waits. */
class Signals {
  /** The candidates so far, as in SDP, and what servers gave none. */
  readonly own: string[] = []
  readonly theirs: string[] = []
  readonly faults: ServerFault[] = []
  readonly #names: NameClient
  readonly #connection: Connection
  readonly #offs: (() => void)[]
  readonly #unsent: Candidate[] = []
  readonly #early: { readonly introduction: string; readonly candidate: Candidate }[] = []
  #introduction: string | undefined
  /** The introduction that ended last: it may be ours before we know its name. */
  ended: string | undefined

  constructor(names: NameClient, connection: Connection) {
    this.#names = names
    this.#connection = connection
    this.#offs = [
      connection.events.on('candidate', (candidate) => {
        if (candidate.candidate !== '') this.own.push(candidate.candidate)
        if (this.#introduction === undefined) this.#unsent.push(candidate)
        else this.#send(this.#introduction, candidate)
      }),
      connection.events.on('serverFault', (fault) => void this.faults.push(fault)),
      names.events.on('ended', (ended) => void (this.ended = ended)),
      names.events.on('signal', (signal) => {
        if (this.#introduction === signal.introduction) this.#take(signal.candidate)
        else if (this.#introduction === undefined && this.#early.length < MAX_EARLY_SIGNALS) this.#early.push(signal)
      }),
    ]
  }

  begin(introduction: string, { sdp }: Description): void {
    this.#introduction = introduction
    // An end that does not trickle has them in its answer.
    for (const [, candidate = ''] of sdp.matchAll(/^a=(candidate:.*)/gm)) this.theirs.push(candidate)
    for (const candidate of this.#unsent.splice(0)) this.#send(introduction, candidate)
    for (const signal of this.#early.splice(0)) {
      if (signal.introduction === introduction) this.#take(signal.candidate)
    }
  }

  /** Until the connection or the introduction ends: late candidates bring a better path, or the name of the one in use. */
  linger(): void {
    this.#offs.push(
      this.#connection.events.once('closed', () => this.stop()),
      this.#names.events.on('ended', (ended) => {
        if (ended === this.#introduction) this.stop()
      }),
    )
  }

  stop(): void {
    for (const off of this.#offs) off()
  }

  #take(candidate: Candidate): void {
    if (this.theirs.length < MAX_REMEMBERED) this.theirs.push(candidate.candidate)
    this.#connection.addCandidate(candidate)
  }

  #send(introduction: string, candidate: Candidate): void {
    this.#names.request('signal', { introduction, candidate }).catch(() => {
      // The introduction has ended, or the name server is gone: the deadline tells.
    })
  }
}
