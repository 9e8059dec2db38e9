/**
 * A slave with a persistent outbox in a process of its own, which may be killed at any moment: its arguments are the address of a
 * name server, a name, and the folder. It pushes tokens as fast as they are committed, and says which of them are.
 */
import { Slave } from 'named-master/slave'

/** Tokens that wait for their answer at once. */
const AT_ONCE = 20

export type Told = { readonly settled: readonly string[] } | { readonly pushed: string } | { readonly refused: string }

async function main([url = '', name = '', data = '', life = '']: readonly string[]): Promise<void> {
  const slave = new Slave(url, { outbox: 'persistent', data, log: () => undefined })
  const say = (told: Told): void => void process.send?.(told)
  slave.events.on('refused', ({ code }) => say({ refused: code }))
  await slave.connect(name, { wait: true })
  for (let i = 0; ; i += AT_ONCE) {
    const tokens = Array.from({ length: AT_ONCE }, (_, k) => `${life}-${i + k}`)
    for (const [k, token] of tokens.entries()) {
      if (k % 2 === 0) slave.emit('push', token)
      else slave.mutate((state) => [...(state as string[]), token])
    }
    say({ pushed: tokens.at(-1) ?? '' })
    await slave.settled()
    say({ settled: tokens })
  }
}

await main(process.argv.slice(2))
