/**
 * The pursuit of one name: reach its master, keep the session on a link, and come back when the link is lost.
 *
 * Promises: before the master was ever reached, one failure ends it unless somebody waits; afterwards only `end()` and a
 * final refusal do. While the name is not up, the name server watches for it. When it is over, everything is closed.
 */
import { inflate } from '#deflate'
import type { RtcEngine } from '#rtc'
import type { Clock } from '../clock.js'
import { NamedMasterError, type ErrorCode } from '../errors.js'
import { Events } from '../events.js'
import { createLink } from '../link/link.js'
import type { Log } from '../log.js'
import { envelope } from '../protocol/envelope.js'
import { parseDown, type Down, type Up } from '../protocol/replication.js'
import { NameClient } from '../signal/name-client.js'
import { Dialler } from './dialler.js'
import type { MasterLink, Session } from './session.js'

/** Bytes of one message of a master: a whole state may be one. */
const MAX_DOWN_MESSAGE_BYTES = 512 * 1024 * 1024
/** Between pings, and the silence after which the master counts as dead, in milliseconds. */
const PING_MS = 3000
const SILENCE_MS = 10_000
/** Between two tries, in milliseconds: doubled each time from the first to the longest; half of it is jitter. */
const FIRST_PAUSE_MS = 250
const MAX_PAUSE_MS = 10_000
/** While the name server watches for the name, in milliseconds: a try of our own in case its word was lost. */
const WATCH_PAUSE_MS = 60_000

export interface PursuitEvents {
  /** The session has the master's state. */
  reached: []
  /** The link is gone; it goes on trying. */
  lost: []
  /** It is over and everything is closed. */
  over: []
}

export interface PursuitOptions {
  readonly url: string
  readonly name: string
  readonly session: Session
  readonly rtc: RtcEngine | undefined
  readonly iceTransportPolicy: RTCIceTransportPolicy
  /** The name was not there when it was last pursued. */
  readonly lookFirst: boolean
  readonly clock: Clock
  readonly log: Log
}

export class Pursuit {
  readonly events = new Events<PursuitEvents>()
  readonly name: string
  /** Why the last try failed, or the last link was lost. */
  lastError: NamedMasterError | undefined
  /** Whether it goes on though the master cannot be reached; true once it was. */
  persistent = false
  readonly #options: PursuitOptions
  readonly #clock: Clock
  readonly #session: Session
  readonly #names: NameClient
  readonly #dialler: Dialler
  readonly #abort = new AbortController()
  readonly #over: Promise<void>

  constructor(options: PursuitOptions) {
    const { url, clock, log, rtc, iceTransportPolicy, lookFirst } = options
    this.name = options.name
    this.#options = options
    this.#clock = clock
    this.#session = options.session
    this.#names = new NameClient(url, { log, clock })
    this.#dialler = new Dialler(this.#names, {
      clock,
      lookFirst,
      iceTransportPolicy,
      ...(rtc === undefined ? {} : { rtc }),
    })
    this.#over = this.#run()
  }

  /** Ends it; resolves when everything is closed. `why` is kept as `lastError`. */
  end(why?: NamedMasterError): Promise<void> {
    this.#abort.abort()
    return this.#over.then(() => {
      if (why !== undefined) this.lastError = why
    })
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort
    const offs = this.#watchPage()
    let failures = 0
    while (!signal.aborted) {
      try {
        const link = await this.#open()
        this.persistent = true
        failures = 0
        // It may be closed already, in the turn in which the state came: then nobody would tell.
        const closed = link.open
          ? new Promise<NamedMasterError>((resolve) => void link.events.once('close', resolve))
          : new NamedMasterError('closed', 'The connection was closed as soon as it was there; connect again.')
        this.events.emit('reached')
        this.lastError = await closed
        if (!signal.aborted && !isFinal(this.lastError)) this.events.emit('lost')
      } catch (error) {
        this.lastError = NamedMasterError.from(error, 'internal', 'The connection failed for an unknown reason')
        if (this.lastError.code === 'internal') this.#options.log('error', 'Connecting failed', { error })
      }
      if (signal.aborted || isFinal(this.lastError) || !this.persistent) break
      await this.#pause(this.lastError, ++failures)
    }
    for (const off of offs) off()
    await this.#session.link?.close('closed', 'The slave has disconnected')
    this.#names.close()
    await this.#dialler.close()
    this.events.emit('over')
  }

  /** Dials, and answers the link when the session has the state over it. */
  async #open(): Promise<MasterLink> {
    const { signal } = this.#abort
    const link = createLink<Down, Up>(await this.#dialler.dial(this.name, signal), {
      parse: parseDown,
      maxMessageBytes: MAX_DOWN_MESSAGE_BYTES,
      inflate,
      heartbeat: {
        interval: PING_MS,
        silence: () => SILENCE_MS,
        pong: () => ({ hidden: pageIsHidden(), lowestCall: this.#session.calls.lowest }),
      },
      clock: this.#clock,
    })
    const off = listen(signal, 'abort', () => void link.close('closed', 'The slave has disconnected'))
    link.events.on('close', off)
    if (signal.aborted) void link.close('closed', 'The slave has disconnected')
    await this.#session.attach(link)
    return link
  }

  async #pause({ code }: NamedMasterError, failures: number): Promise<void> {
    const absent = isAbsence(code) || code === 'stopped'
    const backoff = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), MAX_PAUSE_MS)
    const { signal } = this.#abort
    const name = this.name
    await new Promise<void>((resolve) => {
      const over = (): void => {
        this.#clock.clearTimeout(timer)
        for (const off of offs) off()
        resolve()
      }
      const watch = (): void => {
        if (!absent || this.#names.status === 'disconnected') return
        this.#names.request('watch', { name }).then(
          ({ live }) => live && over(),
          () => undefined,
        )
      }
      const timer = this.#clock.setTimeout(over, absent ? WATCH_PAUSE_MS : backoff * (0.5 + Math.random() / 2))
      const offs = [
        this.#names.events.on('available', (available) => available === name && over()),
        this.#names.events.on('status', watch),
        listen(signal, 'abort', over),
        listen(globalThis, 'online', over),
      ]
      watch()
      if (signal.aborted) over()
    })
  }

  /** The master should know at once when the page goes to the background (it gets more time) or away. */
  #watchPage(): (() => void)[] {
    if (typeof document === 'undefined') return []
    return [
      listen(document, 'visibilitychange', () => {
        this.#session.link?.send(envelope('pong', { hidden: pageIsHidden() }), 'urgent')
      }),
      listen(globalThis, 'pagehide', () => void this.#session.link?.close('closed', 'The page was left')),
    ]
  }
}

/** What no further try would change. */
const isFinal = ({ code }: NamedMasterError): boolean =>
  code === 'refused' || code === 'unsupported-version' || code === 'not-allowed'

/** The name server's word that nobody is there. */
export const isAbsence = (code: ErrorCode): boolean => code === 'no-such-master' || code === 'master-offline'

const pageIsHidden = (): boolean => typeof document !== 'undefined' && document.visibilityState === 'hidden'

/** Listens where the target takes listeners (Node's globalThis does not); answers the function that stops it. */
function listen(target: unknown, event: string, listener: () => void): () => void {
  const events = target as Partial<EventTarget>
  events.addEventListener?.(event, listener)
  return () => events.removeEventListener?.(event, listener)
}
