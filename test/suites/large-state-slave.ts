/**
 * A slave of a large state in a process of its own: its arguments are the address of a name server and a name. It says
 * when it has the state, how its link was lost and healed, and, when it is asked, a digest of what it shows at a version.
 */
import { Slave } from 'named-master/slave'
import { digestOf, type LargeState } from './large-state.js'

export type Report =
  { readonly status: string } | { readonly told: 'resumed' | 'reset' } | { readonly n: number; readonly digest: string }

async function main([url = '', name = '']: readonly string[]): Promise<void> {
  const slave = new Slave<LargeState>(url, { log: () => undefined })
  const say = (report: Report): void => void process.send?.(report)
  slave.events.on('status', (status) => say({ status }))
  slave.events.on('resumed', () => say({ told: 'resumed' }))
  slave.events.on('reset', () => say({ told: 'reset' }))
  process.on('message', (order: { readonly at: number } | { readonly end: true }) => {
    if ('end' in order) return void slave.disconnect().then(() => process.disconnect())
    const look = (): void => {
      const state = slave.getState()
      if (state.n < order.at) return
      off()
      say({ n: state.n, digest: digestOf(state) })
    }
    const off = slave.subscribe(look)
    look()
  })
  await slave.connect(name)
}

await main(process.argv.slice(2))
