/** The sessions of a master without a network: slaves made by hand, which say whatever a test wants, over links in memory. */
import { deflate } from '#deflate'
import { linkPair } from '#src/link/memory.js'
import type { Link } from '#src/link/link.js'
import { Methods } from '#src/master/methods.js'
import { Sessions } from '#src/master/sessions.js'
import { envelope } from '#src/protocol/envelope.js'
import { parseDown, parseUp, type Down, type Up, type UpCommand, type UpPayload } from '#src/protocol/replication.js'
import { newSecret } from '#src/signal/secret.js'
import { createStore } from '#src/store/index.js'
import { coreOf, type StoreCore } from '#src/store/store.js'
import type { ManualClock } from 'named-master/testing'

const MEBIBYTE = 1024 * 1024

/** One that keeps all it hears. */
export class HandMadeSlave {
  readonly heard: Down[] = []
  readonly closed: Promise<string>
  readonly #link: Link<Down, Up>
  readonly #asked = new Set<Down>()

  constructor(link: Link<Down, Up>) {
    this.#link = link
    link.events.on('message', (message) => this.heard.push(message))
    this.closed = new Promise((resolve) => void link.events.once('close', ({ code }) => resolve(code)))
  }

  get open(): boolean {
    return this.#link.open
  }

  say<C extends UpCommand>(command: C, payload: UpPayload<C>): void {
    this.#link.send(envelope(command, payload) as Up)
  }

  /** The next message of a command that has not been asked for. */
  async hears<C extends Down['command']>(command: C): Promise<Extract<Down, { command: C }>> {
    for (;;) {
      const [found] = this.all(command).filter((message) => !this.#asked.has(message))
      if (found !== undefined) {
        this.#asked.add(found)
        return found
      }
      await new Promise<void>((resolve) => void this.#link.events.once('message', () => resolve()))
    }
  }

  all<C extends Down['command']>(command: C): Extract<Down, { command: C }>[] {
    return this.heard.filter((message): message is Extract<Down, { command: C }> => message.command === command)
  }
}

/** A master's sessions over a store with this state. */
export function sessionsOf(state: unknown, clock: ManualClock) {
  const store = createStore(state)
  const methods = new Methods()
  const sessions = new Sessions({
    core: coreOf(store) as StoreCore,
    methods,
    append: async () => undefined,
    deflate,
    clock,
    log: () => undefined,
  })
  const join = async (): Promise<HandMadeSlave> => {
    const { left, right } = linkPair<Up, Down>({
      left: { parse: parseUp, maxMessageBytes: 16 * MEBIBYTE },
      right: { parse: parseDown, maxMessageBytes: 512 * MEBIBYTE },
      clock,
    })
    const slave = new HandMadeSlave(right)
    const secret = newSecret()
    sessions.welcome(left, { versions: { oldest: 1, newest: 1 }, secret, calls: [], encodings: ['json'] })
    await clock.advance(0)
    return slave
  }
  return { store, methods, sessions, join }
}
