/**
 * A process that connects to its parent, closes, and ends by itself. How it closes is its argument: `ours` says goodbye
 * after a message, `theirs` waits for the parent's goodbye, `early` closes while candidates are still gathered.
 */
import { loadRtc } from '#rtc'
import { Connection } from '#src/link/datachannel.js'
import { createLink } from '#src/link/link.js'
import type { Candidate, Description } from '#src/protocol/naming.js'
import { opened } from './connect.js'
import { closed, options, say, type Said } from './link.js'

/** What the two processes say to each other. */
export type Signal = { readonly candidate: Candidate } | { readonly description: Description }

async function main(how: string): Promise<void> {
  const slave = Connection.offering(await loadRtc())
  const tell = (signal: Signal) => process.send?.(signal)
  const answered = new Promise<Description>((resolve) => {
    process.on('message', (signal: Signal) => {
      if ('candidate' in signal) slave.addCandidate(signal.candidate)
      else resolve(signal.description)
    })
  })
  slave.events.on('candidate', (candidate) => tell({ candidate }))
  const channel = opened(slave)
  tell({ description: await slave.description() })
  const accepted = slave.accept(await answered)
  if (how === 'early') {
    channel.catch(() => undefined)
    await accepted
    await slave.close()
  } else {
    const link = createLink<Said, Said>(await channel, options())
    link.send(say({ n: 1 }))
    if (how === 'theirs') await closed(link)
    await link.close('stopped', 'The process ends.')
  }
  process.disconnect()
}

await main(process.argv[2] ?? 'ours')
