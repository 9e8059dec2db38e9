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
import { Connection } from '../link/datachannel.js'
import type { Candidate, IceServer } from '../protocol/naming.js'
import type { NameClient } from '../signal/name-client.js'

/** From the master's answer to an open channel, in milliseconds. Relays over a slow path take seconds. */
const OPEN_TIMEOUT_MS = 20_000
/** What is left of that once ICE has given up, which it may do before late candidates have come. */
const AFTER_FAILED_MS = 5000
/** Signals that overtake their own introduction. */
const MAX_EARLY_SIGNALS = 64

export interface DiallerOptions {
  readonly rtc?: RtcEngine
  /** The name was not there when it was last asked for: ask again before a connection is made for it. */
  readonly lookFirst?: boolean
  readonly clock?: Clock
}

export class Dialler {
  readonly #names: NameClient
  readonly #options: DiallerOptions
  readonly #clock: Clock
  #lookFirst: boolean
  /** Offered, and never answered. */
  #spare: Connection | undefined

  constructor(names: NameClient, options: DiallerOptions = {}) {
    this.#names = names
    this.#options = options
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
    const connection =
      this.#spare ?? Connection.offering(this.#options.rtc ?? (await loadRtc()), { clock: this.#clock })
    this.#spare = connection
    connection.setIceServers(this.#names.iceServers)
    const offer = await connection.description()
    const signals = new Signals(this.#names, connection)
    try {
      const { introduction, answer } = await this.#names.request('connect', { name, offer }, { signal })
      this.#spare = undefined
      return await this.#open(connection, signals, introduction, answer, signal)
    } catch (error) {
      if (this.#spare !== connection) void connection.close()
      throw error
    } finally {
      signals.stop()
    }
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
    answer: Parameters<Connection['accept']>[0],
    signal: AbortSignal,
  ): Promise<Channel> {
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
      const unreachable = (): void => give(explain(this.#names.iceServers, signals.gathered))
      const aborted = (): void => give(new NamedMasterError('aborted', 'The connection was given up'))
      let deadline = this.#clock.setTimeout(unreachable, OPEN_TIMEOUT_MS)
      signal.addEventListener('abort', aborted)
      offs.push(
        () => signal.removeEventListener('abort', aborted),
        connection.events.on('open', (channel) => {
          finish()
          resolve(channel)
        }),
        connection.events.on('closed', unreachable),
        connection.events.on('failed', () => {
          this.#clock.clearTimeout(deadline)
          deadline = this.#clock.setTimeout(unreachable, AFTER_FAILED_MS)
        }),
        this.#names.events.on('ended', (ended) => {
          if (ended === introduction)
            give(new NamedMasterError('master-offline', 'The master went away while connecting'))
        }),
      )
      if (signal.aborted) aborted()
      signals.begin(introduction)
      connection.accept(answer).catch(give)
    })
  }
}

/** Carries candidates both ways for one introduction; what comes before its id is known waits. */
class Signals {
  /** The kinds of our own candidates so far: host, srflx, relay. */
  readonly gathered = new Set<string>()
  readonly #names: NameClient
  readonly #connection: Connection
  readonly #offs: (() => void)[]
  readonly #own: Candidate[] = []
  readonly #early: { readonly introduction: string; readonly candidate: Candidate }[] = []
  #introduction: string | undefined

  constructor(names: NameClient, connection: Connection) {
    this.#names = names
    this.#connection = connection
    this.#offs = [
      connection.events.on('candidate', (candidate) => {
        const kind = / typ (\w+)/.exec(candidate.candidate)?.[1]
        if (kind !== undefined) this.gathered.add(kind)
        if (this.#introduction === undefined) this.#own.push(candidate)
        else this.#send(this.#introduction, candidate)
      }),
      names.events.on('signal', (signal) => {
        if (this.#introduction === signal.introduction) this.#connection.addCandidate(signal.candidate)
        else if (this.#introduction === undefined && this.#early.length < MAX_EARLY_SIGNALS) this.#early.push(signal)
      }),
    ]
  }

  begin(introduction: string): void {
    this.#introduction = introduction
    for (const candidate of this.#own.splice(0)) this.#send(introduction, candidate)
    for (const signal of this.#early.splice(0)) {
      if (signal.introduction === introduction) this.#connection.addCandidate(signal.candidate)
    }
  }

  stop(): void {
    for (const off of this.#offs) off()
  }

  #send(introduction: string, candidate: Candidate): void {
    this.#names.request('signal', { introduction, candidate }).catch(() => {
      // The introduction has ended, or the name server is gone: the deadline tells.
    })
  }
}

/** Why no path was found, as far as the candidates tell, and what to do. */
function explain(servers: readonly IceServer[], gathered: ReadonlySet<string>): NamedMasterError {
  const has = (scheme: RegExp): boolean => servers.some(({ urls }) => urls.some((url) => scheme.test(url)))
  const [stun, turn] = [has(/^stuns?:/), has(/^turns?:/)]
  let sentence: string
  if (turn && !gathered.has('relay')) {
    sentence =
      'No relay candidate was gathered: check that the TURN servers in turn.config.json answer and take the credentials'
  } else if (turn) {
    sentence =
      'Neither a direct path nor one through the relay was found: check that the master reaches the TURN servers too'
  } else if (stun) {
    sentence = 'No direct path was found, and there is no relay: add a TURN server to turn.config.json'
  } else {
    sentence =
      'No direct path was found: add a STUN server to turn.config.json for ends behind NAT, and a TURN server as the last resort'
  }
  return new NamedMasterError('unreachable', sentence)
}
