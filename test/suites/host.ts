/**
 * A program on a host of a network (network.ts), which does what its parent asks for: it is a name server, a master or a
 * slave. It ends with its parent.
 */
import { createStore, Master, Slave, type Microstore } from 'named-master'
import { createNameServer } from 'named-master/nameserver'
import { attempt, type Attempt } from './attempt.js'
import { recordingRtc, shows } from './setting.js'

export interface Count {
  readonly n: number
}

const quiet = { log: () => undefined }
let store: Microstore<Count>
let slave: Slave<Count>
/** What the latest slave was told of its link. */
let told: string[]

const orders = {
  /** @returns the address of a name server that hands these out */
  async serveNames(host: string, iceServers: readonly { urls: string }[]): Promise<string> {
    return (await createNameServer({ host, port: 0, data: false, turn: { iceServers }, ...quiet })).url
  },
  async serve(url: string): Promise<void> {
    store = createStore<Count>({ n: 0 })
    await new Master(url, { store, ...quiet }).startServer('garage')
  },
  async attempt(url: string): Promise<Attempt> {
    const { rtc, peers } = await recordingRtc()
    slave = new Slave<Count>(url, { rtc, ...quiet })
    const log: string[] = (told = [])
    for (const event of ['resumed', 'reset'] as const) slave.events.on(event, () => log.push(event))
    return attempt(slave, peers)
  },
  /** To the master's own. */
  async add(by: number): Promise<void> {
    store.mutate(({ n }) => ({ n: n + by }))
  },
  /** To the slave's, which may be cut off. @returns what the slave was told of its link, once all of `expected` is there */
  async addAsSlave(by: number, expected: number): Promise<string[]> {
    slave.mutate(({ n }) => ({ n: n + by }))
    await slave.settled()
    await shows(slave, ({ n }) => n === expected)
    return told
  },
}

export type Orders = typeof orders
export type Order = { readonly id: number; readonly name: keyof Orders; readonly args: readonly never[] }
export type Outcome = { readonly id: number; readonly value?: unknown; readonly error?: string }

process.on('message', ({ id, name, args }: Order) => {
  const answer = (outcome: Omit<Outcome, 'id'>): void => void process.send?.({ id, ...outcome })
  const order = orders[name] as (...args: readonly never[]) => Promise<unknown>
  order(...args).then(
    (value) => answer({ value }),
    (error: unknown) => answer({ error: error instanceof Error ? `${error.message}\n${error.stack}` : String(error) }),
  )
})
process.on('disconnect', () => process.exit())
