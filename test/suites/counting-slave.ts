/**
 * A slave in a process of its own, to be stopped and continued from outside: `URL NAME TIMES`. It says `connected` to its
 * parent, counts when told `go`, says `done` when all is committed, and ends.
 */
import { once } from 'node:events'
import { Slave } from 'named-master/slave'

async function main(url: string, name: string, times: number): Promise<void> {
  const slave = new Slave<{ n: number }>(url)
  const go = once(process, 'message')
  await slave.connect(name, { wait: true })
  process.send?.('connected')
  await go
  for (let i = 0; i < times; i++) slave.mutate((state) => ({ ...state, n: state.n + 1 }))
  await slave.settled()
  process.send?.('done')
  await slave.disconnect()
  process.disconnect()
}

await main(process.argv[2] ?? '', process.argv[3] ?? '', Number(process.argv[4]))
