/** One life of a master over a data folder, without a network: its store, its sessions, and slaves made by hand. */
import { deflate } from '#deflate'
import { systemClock } from '#src/clock.js'
import { linkPair } from '#src/link/memory.js'
import { openJournal, type Durability, type StoredJournal } from '#src/master/journal.js'
import { Methods } from '#src/master/methods.js'
import { Sessions } from '#src/master/sessions.js'
import { parseDown, parseUp, type Down, type DownPayload, type Up, type UpPayload } from '#src/protocol/replication.js'
import { newSecret } from '#src/signal/secret.js'
import type { Microstore } from '#src/store/microstore.js'
import { coreOf, createStore } from '#src/store/store.js'
import { HandMadeSlave } from './slaves.js'

const MEBIBYTE = 1024 * 1024

export interface LifeOptions {
  readonly durability?: Durability
  readonly date?: () => number
}

export class Life<S> {
  readonly store: Microstore<S>
  readonly sessions: Sessions
  readonly journal: StoredJournal
  readonly warnings: string[] = []

  private constructor(store: Microstore<S>, journal: StoredJournal, date: () => number) {
    this.store = store
    this.journal = journal
    this.sessions = new Sessions({
      core: coreOf(store)!,
      methods: new Methods(),
      append: (batch) => journal.append(batch),
      deflate,
      clock: systemClock,
      date,
      log: (_, sentence) => void this.warnings.push(sentence),
    })
  }

  static async begin<S>(data: string, initial: S, options: LifeOptions = {}): Promise<Life<S>> {
    const warnings: string[] = []
    const journal = await openJournal(data, {
      durability: options.durability ?? 'process',
      log: (_, sentence) => void warnings.push(sentence),
    })
    const life = new Life(createStore(initial), journal, options.date ?? Date.now)
    life.sessions.restore(journal.kept)
    await journal.begin(life.sessions.term, () => life.sessions.moment())
    return life
  }

  /** A slave that has said hello, with the welcome it got. */
  async join(
    hello: Partial<UpPayload<'hello'>> = {},
  ): Promise<{ slave: HandMadeSlave; welcome: DownPayload<'welcome'>; secret: string }> {
    const { left, right } = linkPair<Up, Down>({
      left: { parse: parseUp, maxMessageBytes: 16 * MEBIBYTE },
      right: { parse: parseDown, maxMessageBytes: 512 * MEBIBYTE },
    })
    const slave = new HandMadeSlave(right)
    const secret = hello.secret ?? newSecret()
    this.sessions.welcome(left, {
      versions: { oldest: 1, newest: 1 },
      calls: [],
      encodings: ['json'],
      ...hello,
      secret,
    })
    const { payload: welcome } = await slave.hears('welcome')
    return { slave, welcome, secret }
  }

  /** Ends in order. */
  async end(): Promise<void> {
    await this.sessions.dismiss('stopped', 'The life ends')
    await this.sessions.close()
    await this.journal.close()
  }
}
