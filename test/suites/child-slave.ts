/**
 * A slave in a process of its own, told by its parent what to do: its arguments are the address of a name server and a
 * name. It says what its status becomes, and what the master has of what it was told to add.
 */
import { Slave } from 'named-master/slave'

export type Order = { readonly add: number } | { readonly end: true }
export type Report = { readonly status: string } | { readonly settled: number } | { readonly told: 'resumed' | 'reset' }

async function main([url = '', name = '']: readonly string[]): Promise<void> {
  const slave = new Slave<{ count: number }>(url, { log: () => undefined })
  const say = (report: Report): void => void process.send?.(report)
  slave.events.on('status', (status) => say({ status }))
  slave.events.on('resumed', () => say({ told: 'resumed' }))
  slave.events.on('reset', () => say({ told: 'reset' }))
  slave.on('add', (state, by: number) => ({ ...state, count: state.count + by }))
  process.on('message', (order: Order) => {
    if ('end' in order) return void slave.disconnect().then(() => process.disconnect())
    slave.emit('add', order.add)
    void slave.settled().then(() => say({ settled: slave.getState().count }))
  })
  await slave.connect(name)
}

await main(process.argv.slice(2))
