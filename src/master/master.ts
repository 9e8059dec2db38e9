/**
 * Master: hosts a store under a name. It admits slaves, applies what they send, fans commits out.
 *
 * The life of a master: stopped -> starting -> started (-> reconnecting -> started)* -> stopped, or evicted by a newer
 * claim to its name, which is final until the program calls `startServer`.
 */
import type { RtcEngine } from '#rtc'
import { deflate } from '#deflate'
import { systemClock, type Clock } from '../clock.js'
import { NamedMasterError, type ErrorCode } from '../errors.js'
import { Events } from '../events.js'
import { consoleLog, type Log } from '../log.js'
import { checkPolicy } from '../link/native.js'
import { NAME_RULE, normalizeName } from '../protocol/naming.js'
import { NameClient, parseUrl } from '../signal/name-client.js'
import { adopt, type ForeignStore } from '../store/adopt.js'
import { coreOf, messageOf } from '../store/store.js'
import { Admission } from './admission.js'
import { Claim } from './claim.js'
import { MemoryJournal, openJournal, type Durability, type Journal, type StoredJournal } from './journal.js'
import { Methods, type Method } from './methods.js'
import { Sessions, type SlaveInfo } from './sessions.js'

/** Slaves at once, unless the program says otherwise: about 300 KB and 17 file descriptors each under wrtc. */
const DEFAULT_MAX_SLAVES = 1000
/** What to do about `exists`. */
const KEY_ADVICE = 'use the `data` folder or the `key` that registered it, or choose another name'

export type MasterStatus = 'stopped' | 'starting' | 'started' | 'reconnecting' | 'evicted' | 'closed'

export interface MasterOptions {
  /**
   * A store of `createStore`, or any object with the contract's four methods. What that can and cannot do:
   * docs/decisions/adopt.md.
   */
  readonly store: ForeignStore
  /**
   * For a foreign store whose mutators change the state without a new reference: all of it is compared after each change,
   * 0.2 ms in an array of 1,000 items, 20 ms in one of 100,000. Default: false.
   */
  readonly inPlace?: boolean
  /**
   * The folder of the master's own database, in a browser its name: the state with all its changes, and the secret keys.
   * What it holds takes the place of what the store began with. Absent: all lives in memory.
   */
  readonly data?: string
  /**
   * What an acknowledged change survives: 'process' (default) the end of the process, also by `kill -9`; 'disk' a power
   * cut too, at the price of a write to the disk itself for each batch of changes. Without `data` nothing survives.
   */
  readonly durability?: Durability
  /** The secret key of the name, for a master without `data`: 43 characters, as a name server made it. */
  readonly key?: string
  /** The WebRTC engine; default: the browser's own, or wrtc. */
  readonly rtc?: RtcEngine
  /** 'relay' uses TURN servers only, and hides this machine's addresses from slaves; default 'all'. */
  readonly iceTransportPolicy?: RTCIceTransportPolicy
  /** Slaves at once; default 1000. */
  readonly maxSlaves?: number
  readonly log?: Log
  readonly clock?: Clock
}

export interface MasterEvents {
  status: [status: MasterStatus]
  'slave-joined': [slave: { readonly client: number }]
  /** Its link is gone; its session may yet go on over another. */
  'slave-left': [slave: { readonly client: number }]
  /** Another master took the name with the right key. */
  evicted: [name: string]
}

export class Master {
  readonly events: Events<MasterEvents>
  readonly #url: string
  readonly #options: MasterOptions
  readonly #clock: Clock
  readonly #log: Log
  readonly #names: NameClient
  readonly #claim: Claim
  readonly #admission: Admission
  readonly #methods = new Methods()
  readonly #sessions: Sessions
  #status: MasterStatus = 'stopped'
  #journal: Journal | undefined
  /** startServer and stopServer, one at a time. */
  #turn: Promise<unknown> = Promise.resolve()

  /** No I/O happens before `startServer`. @throws TypeError when an option is wrong, the name server's address included */
  constructor(url: string, options: MasterOptions) {
    if (typeof options?.store !== 'object')
      throw new TypeError('new Master(url, { store }): give it the store to serve')
    this.#url = parseUrl(url).href
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = options.log ?? consoleLog
    this.events = new Events<MasterEvents>((error) => this.#log('error', 'A listener of the master threw', { error }))
    this.#names = new NameClient(url, { log: this.#log, clock: this.#clock })
    this.#claim = new Claim(this.#names, this.#log)
    this.#admission = new Admission({
      names: this.#names,
      clock: this.#clock,
      rtc: options.rtc,
      iceTransportPolicy: checkPolicy(options.iceTransportPolicy),
      maxSlaves: options.maxSlaves ?? DEFAULT_MAX_SLAVES,
      serves: () => this.#claim.name,
      admitted: (link, hello) => this.#sessions.welcome(link, hello),
    })
    this.#sessions = new Sessions({
      core:
        coreOf(options.store) ??
        adopt(options.store, {
          inPlace: options.inPlace ?? false,
          report: (error) => this.#log('error', messageOf(error, 'The store that is served failed'), { error }),
        }),
      methods: this.#methods,
      append: async (batch) => this.#journal?.append(batch),
      deflate,
      clock: this.#clock,
      log: this.#log,
    })
    this.#sessions.events.on('joined', (slave) => this.events.emit('slave-joined', slave))
    this.#sessions.events.on('left', (slave) => this.events.emit('slave-left', slave))
    this.#claim.events.on('reachable', (reachable) => this.#setStatus(reachable ? 'started' : 'reconnecting'))
    this.#claim.events.on('evicted', (name) => this.#evicted(name))
  }

  get status(): MasterStatus {
    return this.#status
  }

  /** The name served, while there is one. */
  get name(): string | undefined {
    return this.#claim.name
  }

  /** Those connected at present. */
  get slaves(): readonly SlaveInfo[] {
    return this.#sessions.present
  }

  /**
   * Opens the data folder and makes the store what it holds, so that a program can go on while no name server can be
   * reached; `startServer` does it by itself. Idempotent. Until then the folder is not touched, and while it is read the
   * store refuses changes (`store-busy`).
   * @throws NamedMasterError `storage-locked`, `storage-damaged`, `storage-newer`, `storage-foreign`, `storage-failed`
   */
  open(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#status === 'closed') throw new TypeError('open: this master is closed')
      this.#journal ??= await this.#openJournal()
    })
  }

  /**
   * Claims the name and serves the store under it (seed document 2).
   * @returns `registered` the first time, `started` when the name is ours already, `exists` when it is somebody else's
   * @throws NamedMasterError `invalid-name`, `incorrect-key`, `name-server-unreachable`, `timeout`, and what
   * `open` throws
   */
  startServer(name: string): Promise<'registered' | 'started' | 'exists'> {
    return this.#inTurn(async () => {
      if (this.#status === 'closed') throw new TypeError('startServer: this master is closed')
      const wanted = normalizeName(name)
      if (wanted === undefined) throw new NamedMasterError('invalid-name', `${NAME_RULE}; "${name}" is not one`)
      if (this.#claim.name === wanted) return 'started'
      if (this.#claim.name !== undefined) {
        throw new TypeError(`startServer: this master serves "${this.#claim.name}"; call stopServer() first`)
      }
      this.#setStatus('starting')
      try {
        this.#journal ??= await this.#openJournal()
        const answer = await this.#claim.take(wanted, this.#url, this.#journal, this.#options.key)
        if (answer === 'exists') this.#setStatus('stopped')
        // Else it was evicted meanwhile, and that is said already.
        else if (this.#claim.name === wanted)
          this.#setStatus(this.#names.status === 'connected' ? 'started' : 'reconnecting')
        if (answer === 'exists') this.#log('warn', `"${wanted}" is taken, and its key is not here: ${KEY_ADVICE}`)
        return answer
      } catch (error) {
        this.#setStatus('stopped')
        throw error
      }
    })
  }

  /** Stops serving: the name stays ours, slaves are disconnected and wait for it. Answers `stopped`, also when it was. */
  stopServer(): Promise<'stopped'> {
    return this.#inTurn<'stopped'>(async () => {
      await this.#claim.release()
      await this.#dismiss('stopped', 'The master has stopped; it may come back')
      if (this.#status !== 'closed') this.#setStatus('stopped')
      return 'stopped'
    })
  }

  /** Lets slaves call `name`. The method gets what they sent (JSON) and `{slave, signal}`; it may be asynchronous. */
  expose(name: string, method: Method): void {
    this.#methods.expose(name, method)
  }

  /** Lets slaves use methods of an object, each named here, through `slave.proxy(prefix)`. */
  exposeAll<T extends object>(prefix: string, target: T, methods: readonly (keyof T & string)[]): void {
    this.#methods.exposeAll(prefix, target, methods)
  }

  /** Stops serving and lets go of everything: the store is a local one again. Idempotent. */
  async close(): Promise<void> {
    if (this.#status === 'closed') return
    await this.stopServer()
    this.#setStatus('closed')
    this.#names.close()
    await this.#sessions.close()
    await this.#journal?.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #openJournal(): Promise<Journal> {
    const { data, key, durability } = this.#options
    const sessions = this.#sessions
    if (data === undefined) {
      if (key === undefined) {
        this.#log(
          'warn',
          'Without `data` the store and the key of its name live in memory, and are lost with this process',
        )
      }
      return new MemoryJournal()
    }
    const begun = sessions.term.from
    sessions.awaitRestore()
    let journal: StoredJournal | undefined
    try {
      journal = await openJournal(data, { durability: durability ?? 'process', log: this.#log })
      const { kept } = journal
      if (kept !== undefined && begun > 0)
        this.#log('warn', 'What the store was changed before its data folder was opened is replaced by what that holds')
      sessions.restore(kept)
      await journal.begin(sessions.term, () => sessions.moment())
      return journal
    } catch (error) {
      sessions.restore(undefined)
      await journal?.close()
      throw error
    }
  }

  async #dismiss(code: ErrorCode, message: string): Promise<void> {
    await this.#sessions.dismiss(code, message)
    await this.#admission.dismiss(code, message)
  }

  #evicted(name: string): void {
    this.#setStatus('evicted')
    this.events.emit('evicted', name)
    void this.#inTurn(async () => {
      if (this.#claim.name === undefined) {
        await this.#dismiss('moved', 'The name belongs to another master now: connect again')
      }
    })
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(task)
    this.#turn = mine.catch(() => undefined)
    return mine
  }

  #setStatus(status: MasterStatus): void {
    if (status === this.#status) return
    this.#status = status
    this.events.emit('status', status)
  }
}
