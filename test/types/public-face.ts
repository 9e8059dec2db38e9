/** What the types promise to whoever uses the package: compiled, never run. */
import {
  Master,
  NamedMasterError,
  Slave,
  createStore,
  type ErrorCode,
  type Handler,
  type Microstore,
} from 'named-master'
import { createNameServer, type NameServer } from 'named-master/nameserver'
import { Slave as SlaveAlone } from 'named-master/slave'

interface Garage {
  count: number
  title?: string
}

export async function master(): Promise<readonly unknown[]> {
  const log: (string | number)[] = []
  const store = createStore<Garage>({ count: 0 })
  store.on<number>('increment', (state, by) => ({ ...state, count: state.count + by }))
  store.on(/^log/, (_state, _payload, { event, id, at }) => {
    log.push(event, id, at)
  })
  store.on('reset', (state) => {
    state.count = 0
  })
  // @ts-expect-error a handler returns the state, or nothing
  store.on('increment', () => 'no state')
  // @ts-expect-error handlers are synchronous
  store.on('increment', async (state) => Promise.resolve(state))
  const count: number = store.getState((state) => state.count)
  const title: string | undefined = store.mutate((state) => ({ ...state, count })).title

  const garage = new Master('http://localhost:8002', { store, data: './garage-data' })
  const answer: 'registered' | 'started' | 'exists' = await garage.startServer('garage')
  const stopped: 'stopped' = await garage.stopServer()
  garage.exposeAll('db', { get: (key: string) => key, secret: () => 1 }, ['get'])
  // @ts-expect-error only a method that the object has
  garage.exposeAll('db', { get: (key: string) => key }, ['put'])
  // @ts-expect-error a master without a store
  new Master('http://localhost:8002', { data: './garage-data' })
  // @ts-expect-error the standard knows 'all' and 'relay'
  new Master('http://localhost:8002', { store, iceTransportPolicy: 'direct' })
  await garage.close()
  return [title, answer, stopped, log]
}

export async function slave(signal: AbortSignal): Promise<readonly unknown[]> {
  const seen: ('disconnected' | 'connecting' | 'connected' | 'reconnecting')[] = []

  const visitor = new Slave<Garage>('http://localhost:8002')
  const connected: boolean = await visitor.connect('garage', { wait: true, signal, timeout: 1000 })
  const off: () => void = visitor.on('increment', (state) => ({ ...state, count: state.count + 1 }))
  off()
  visitor.emit('increment', 2)
  visitor.volatile.emit('cursor', { x: 1, y: 2 })
  // @ts-expect-error the name of an event is a text
  visitor.emit(7)
  const state: Garage = visitor.mutate((before) => ({ ...before, title: 'Garage' }))
  // @ts-expect-error the state has no such field
  visitor.getState((now): unknown => now.colour)
  const sum: unknown = await visitor.call('sum', { a: 1, b: 2 }, { timeout: 1000, signal })
  const db = visitor.proxy<{ get(key: string): Promise<string> }>('db')
  const value: string = await db.get('x')
  visitor.events.on('status', (status) => {
    seen.push(status)
  })
  await visitor.settled()
  const over: false = await visitor.disconnect()
  const code: ErrorCode | undefined = visitor.lastError?.code
  return [connected, state, sum, value, over, seen, code]
}

/** Code written against a store does not know which one it has. */
export const stores: readonly Microstore<Garage>[] = [
  createStore<Garage>({ count: 0 }),
  new Slave<Garage>('http://localhost:8002'),
  new SlaveAlone<Garage>('http://localhost:8002'),
]

export const handler: Handler<Garage, number> = (state, by) => ({ ...state, count: state.count + by })

export const code = (error: unknown): ErrorCode | undefined =>
  error instanceof NamedMasterError ? error.code : undefined

// @ts-expect-error the union of codes is closed
export const unknown: ErrorCode = 'no-such-code'

export async function nameServer(): Promise<string> {
  const server: NameServer = await createNameServer({ port: 0, data: './data' })
  await server.close()
  return server.url
}
