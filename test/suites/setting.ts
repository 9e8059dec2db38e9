/**
 * What a test of the whole path needs: a real name server on a free port, masters and slaves that are closed after the
 * test, and waits for what they show. Nothing here is a stand-in.
 */
import { expect } from 'chai'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createStore, Master, NamedMasterError, Slave, type Microstore } from 'named-master'
import { createNameServer, type NameServer, type NameServerOptions } from 'named-master/nameserver'
import { loadRtc, type RtcEngine } from '#rtc'
import type { MasterOptions } from '#src/master/master.js'
import type { SlaveOptions } from '#src/slave/slave.js'
import type { Events, EventMap } from '#src/events.js'
import { nativeConnections } from '#src/link/native.js'
import type { Log } from '#src/log.js'

/** Takes what is logged, so that a test can look at it and the console stays for what is wrong. */
export class Journal {
  readonly lines: string[] = []
  readonly log: Log = (level, sentence) => void this.lines.push(`${level}: ${sentence}`)
}

export class Setting {
  readonly journal = new Journal()
  readonly #folders: string[] = []
  readonly #closing: (() => unknown)[] = []
  nameServer!: NameServer

  get url(): string {
    return this.nameServer.url
  }

  async open(options: NameServerOptions = {}): Promise<this> {
    this.nameServer = await this.serveNames(options)
    return this
  }

  async serveNames(options: NameServerOptions = {}): Promise<NameServer> {
    const where = options.server === undefined ? { port: 0 } : {}
    const server = await createNameServer({ data: false, turn: false, log: this.journal.log, ...where, ...options })
    this.onClose(() => server.close())
    return server
  }

  /** A folder that is gone after the test. */
  async folder(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'named-master-'))
    this.#folders.push(folder)
    return folder
  }

  /** A master that is not started. */
  master(store: object, options: Omit<Partial<MasterOptions>, 'store'> = {}, url = this.url): Master {
    const master = new Master(url, { log: this.journal.log, ...options, store: store as MasterOptions['store'] })
    this.onClose(() => master.close())
    return master
  }

  /** A store under a name. */
  async serve<S>(name: string, state: S): Promise<{ store: Microstore<S>; master: Master }> {
    const store = createStore(state)
    const master = this.master(store)
    expect(await master.startServer(name)).to.equal('registered')
    return { store, master }
  }

  /** A slave that is not connected. */
  slave<S = unknown>(options: SlaveOptions<S> = {}, url = this.url): Slave<S> {
    const slave = new Slave<S>(url, { log: this.journal.log, ...options })
    this.onClose(() => slave.disconnect())
    return slave
  }

  async connected<S = unknown>(name: string, options: SlaveOptions<S> = {}): Promise<Slave<S>> {
    const slave = this.slave<S>(options)
    expect(await slave.connect(name), slave.lastError?.message).to.equal(true)
    return slave
  }

  /** What is to be closed after the test, the latest first. */
  onClose(close: () => unknown): void {
    this.#closing.unshift(close)
  }

  /** Afterwards nothing of the test is left, native connections included. */
  async close(): Promise<void> {
    for (const close of this.#closing.splice(0)) await close()
    await nativeConnections.idle()
    for (const folder of this.#folders.splice(0)) await rm(folder, { recursive: true, force: true })
  }
}

/** wrtc, with a list of what was made of it: to count connections, and to cut one as a network does, without a goodbye. */
export async function recordingRtc(): Promise<{ rtc: RtcEngine; peers: RTCPeerConnection[] }> {
  const peers: RTCPeerConnection[] = []
  const engine = await loadRtc()
  const record = (configuration?: RTCConfiguration): RTCPeerConnection => {
    const peer = new engine.RTCPeerConnection(configuration)
    peers.push(peer)
    return peer
  }
  const RTCPeerConnection = new Proxy(engine.RTCPeerConnection, {
    construct: (_target, [configuration]: [RTCConfiguration?]) => record(configuration),
  })
  return { rtc: { RTCPeerConnection }, peers }
}

/** Closes a connection under its owner, as soon as wrtc survives it: closed while it gathers, it may crash the process. */
export async function cut(peer: RTCPeerConnection | undefined): Promise<void> {
  if (peer === undefined) throw new Error('There is no connection')
  while (peer.iceGatheringState === 'gathering') {
    await new Promise((resolve) => {
      peer.addEventListener('icegatheringstatechange', resolve, { once: true })
    })
  }
  peer.close()
}

/** Resolves when the state shown is as it should be. */
export function shows<S>(store: Microstore<S>, is: (state: S) => boolean): Promise<S> {
  return new Promise((resolve) => {
    const look = (): boolean => {
      if (!is(store.getState())) return false
      off()
      resolve(store.getState())
      return true
    }
    const off = store.subscribe(() => void look())
    look()
  })
}

/** Resolves with what the event says, the next time it says what is wanted. */
export function hears<M extends EventMap<M>, E extends keyof M>(
  events: Events<M>,
  event: E,
  wanted: (...args: M[E]) => boolean = () => true,
): Promise<M[E]> {
  return new Promise((resolve) => {
    const off = events.on(event, (...args) => {
      if (!wanted(...args)) return
      off()
      resolve(args)
    })
  })
}

/** The error that a promise is rejected with. */
export async function failure(promise: Promise<unknown>): Promise<NamedMasterError> {
  const outcome = await promise.then(
    (value: unknown) => ({ value }),
    (error: unknown) => ({ error }),
  )
  if (!('error' in outcome)) throw new Error(`It did not fail, but answered ${JSON.stringify(outcome.value)}`)
  if (!(outcome.error instanceof NamedMasterError)) throw outcome.error
  return outcome.error
}

/** The error that is thrown. */
export function thrownBy(program: () => unknown): NamedMasterError {
  try {
    program()
  } catch (error) {
    if (error instanceof NamedMasterError) return error
    throw error
  }
  throw new Error('It did not throw')
}
