/**
 * A master that is killed again and again under load, and what its slaves have of it: every change that was acknowledged
 * must be there once when it comes back, and in the end every change that was made.
 */
import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { v7 } from 'uuid'
import { inflate } from '#deflate'
import { systemClock } from '#src/clock.js'
import { createLink } from '#src/link/link.js'
import { parseDown, type Down, type Up } from '#src/protocol/replication.js'
import { Session } from '#src/slave/session.js'
import { Handlers, madeEvent } from '#src/store/handlers.js'
import { chances } from 'named-master/testing'
import { Program } from './programs.js'
import { SocketChannel } from './socket-channel.js'

const MASTER = fileURLToPath(new URL('./killed-master.js', import.meta.url))

/** What the load makes: each token is counted, and a pair is counted at two places by one event. */
export interface Counted {
  tokens: Record<string, number>
  pairs: { first: number; second: number }
  /** Written over again and again, so that the journal grows and the state does not. */
  ballast: string
}

export const startingState = (): Counted => ({ tokens: {}, pairs: { first: 0, second: 0 }, ballast: '' })

export const MAX_MESSAGE_BYTES = 16 * 1024 * 1024

/** Changes of one slave on their way at once, and in one life of the master. */
const MAX_PENDING = 6
const MAX_CHANGES = 60
/** One change in so many is ballast, of so many characters: a snapshot is due every few lives. */
const BALLAST_EVERY = 12
const BALLAST_CHARACTERS = 60_000
/** Of a life, in milliseconds, from the first slave's coming; some end before that. */
const LONGEST_LIFE_MS = 80
const LONGEST_START_MS = 250
const CHANCE_OF_DYING_EARLY = 0.1

export interface KillsOptions {
  readonly kills: number
  readonly seed: number
  readonly slaves: number
  readonly folder: string
  readonly durability: 'process' | 'disk'
  /** Whether the master breaks the rule, and announces before it has written. */
  readonly hasty?: boolean
}

export interface KillFigures {
  readonly made: number
  readonly acknowledged: number
  /** Acknowledged, and not there after a kill. */
  readonly lost: number
  readonly twice: number
  /** Made, never refused, and not there in the end. */
  readonly never: number
  /** Lives that began with half of an event. */
  readonly partial: number
  /** Changes that came back though nothing refuses them here. */
  readonly refused: number
  /** Milliseconds to read the folder, of each life. */
  readonly recoveries: readonly number[]
}

export async function killAgainAndAgain(options: KillsOptions): Promise<KillFigures> {
  const { kills, seed, folder, durability, hasty = false } = options
  const chance = chances(seed)
  const clients = Array.from({ length: options.slaves }, (_, i) => new Client(`s${i}`))
  const recoveries: number[] = []
  const lost = new Set<string>()
  const twice = new Set<string>()
  let partial = 0
  const start = (): Program => new Program([MASTER, folder, durability, ...(hasty ? ['hasty'] : [])])
  const ready = async (master: Program): Promise<number> => {
    const [, port, ms] = await master.prints(/serves on (\d+) after ([\d.]+) ms/)
    recoveries.push(Number(ms))
    return Number(port)
  }
  /** What was acknowledged to these clients is in the state that one sees: its own, or that of one who is new. */
  const examine = (seen: Client, answered: readonly Client[]): void => {
    const { tokens, pairs } = seen.state
    if (pairs.first !== pairs.second) partial++
    for (const { acknowledged } of answered) {
      for (const token of acknowledged) {
        if (tokens[token] === undefined) lost.add(token)
        else if (tokens[token] > 1) twice.add(token)
      }
    }
  }
  for (let kill = 0; kill < kills; kill++) {
    const master = start()
    if (chance() < CHANCE_OF_DYING_EARLY) {
      await systemSleep(chance() * LONGEST_START_MS)
    } else {
      const port = await ready(master)
      await Promise.all(clients.map((client) => client.join(port)))
      for (const client of clients) examine(client, [client])
      for (const client of clients) client.work()
      await systemSleep(chance() * LONGEST_LIFE_MS)
    }
    await master.end('SIGKILL')
    await Promise.all(clients.map((client) => client.alone()))
  }
  const master = start()
  const port = await ready(master)
  await Promise.all(clients.map((client) => client.join(port)))
  await Promise.all(clients.map((client) => client.settled()))
  const witness = new Client('witness')
  await witness.join(port)
  examine(witness, clients)
  const { tokens } = witness.state
  const made = clients.flatMap((client) => client.made)
  const refused = new Set(clients.flatMap((client) => [...client.refused]))
  for (const token of made) if ((tokens[token] ?? 0) > 1) twice.add(token)
  const figures = {
    made: made.length,
    acknowledged: clients.reduce((sum, { acknowledged }) => sum + acknowledged.size, 0),
    lost: lost.size,
    twice: twice.size,
    never: made.filter((token) => tokens[token] === undefined && !refused.has(token) && !lost.has(token)).length,
    partial,
    refused: refused.size,
    recoveries,
  }
  for (const client of [...clients, witness]) client.leave()
  await master.end('SIGKILL')
  return figures
}

/** A slave over TCP: it makes changes for as long as it may, and writes down what became of them. */
class Client {
  readonly made: string[] = []
  readonly acknowledged = new Set<string>()
  readonly refused = new Set<string>()
  readonly #name: string
  readonly #session: Session
  readonly #tokens = new Map<number, string>()
  #socket: Socket | undefined
  #left = 0

  constructor(name: string) {
    this.#name = name
    this.#session = new Session({ handlers: new Handlers(() => undefined), clock: systemClock, log: () => undefined })
    const { replica } = this.#session
    this.#session.events.on('refused', ({ seq }) => {
      const token = this.#tokens.get(seq)
      if (token !== undefined) this.refused.add(token)
      this.#tokens.delete(seq)
    })
    replica.events.on('settled', (upTo) => {
      for (const [seq, token] of this.#tokens) {
        if (seq > upTo) break
        this.acknowledged.add(token)
        this.#tokens.delete(seq)
      }
      queueMicrotask(() => this.#makeMore())
    })
  }

  get state(): Counted {
    return this.#session.replica.value as unknown as Counted
  }

  /** Resolves when it has the state; also when the master dies before. */
  async join(port: number): Promise<void> {
    const socket = connect(port, '127.0.0.1')
    this.#socket = socket
    const link = createLink<Down, Up>(new SocketChannel(socket), {
      parse: parseDown,
      maxMessageBytes: MAX_MESSAGE_BYTES,
      inflate,
    })
    await this.#session.attach(link)
  }

  work(): void {
    this.#left = MAX_CHANGES
    this.#makeMore()
  }

  /** The master is gone, and this end knows. */
  async alone(): Promise<void> {
    this.#left = 0
    const { link } = this.#session
    if (link?.open === true) await new Promise<void>((resolve) => void link.events.once('close', () => resolve()))
  }

  settled(): Promise<void> {
    return this.#session.settled().catch(() => undefined)
  }

  leave(): void {
    this.#socket?.destroy()
  }

  #makeMore(): void {
    const { replica } = this.#session
    while (this.#left > 0 && replica.pending < MAX_PENDING && replica.live) {
      this.#left--
      const number = this.made.length
      if (this.#left % BALLAST_EVERY === 0) {
        this.#emit('ballast', `${number}`.padEnd(BALLAST_CHARACTERS, 'x'))
        this.#emit('pair', undefined)
      }
      const token = `${this.#name}-${number}`
      this.made.push(token)
      this.#tokens.set(replica.latestSeq + 1, token)
      if (number % 3 === 0)
        replica.mutate(
          (state) => void ((state as Counted).tokens[token] = ((state as Counted).tokens[token] ?? 0) + 1),
          v7(),
          Date.now(),
        )
      else this.#emit('token', token)
      this.#session.flushSoon()
    }
  }

  #emit(event: string, payload: string | undefined): void {
    this.#session.replica.emit(madeEvent(event, payload))
    this.#session.flushSoon()
  }
}

const systemSleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
