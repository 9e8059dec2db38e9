/**
 * A process that is sent to as fast as it takes it, over several connections, and sends as fast itself: as a master does
 * while a state goes out. Its parent disconnects, again and again; it tells when a link of its own has ended.
 */
import { loadRtc } from '#rtc'
import { Connection } from '#src/link/datachannel.js'
import { createLink, encode } from '#src/link/link.js'
import type { Candidate, Description } from '#src/protocol/naming.js'
import { opened } from './connect.js'
import { options, say, type Said } from './link.js'

/** What the two processes say to each other, of the connection with that number. */
export interface About {
  readonly connection: number
  readonly candidate?: Candidate
  readonly description?: Description
}

/** Small, so that it is in the engine's `send` for most of its time. */
const MESSAGE = encode(say({ n: 1 }))
/** In a turn, each of them in a frame of its own. */
const FRAMES_PER_TURN = 20

const rtc = await loadRtc()
const connections = new Map<number, Connection>()

async function serve(connection: number, offer: Description): Promise<void> {
  const master = Connection.answering(rtc)
  connections.set(connection, master)
  master.events.on('candidate', (candidate) => process.send?.({ connection, candidate } satisfies About))
  const channel = opened(master)
  process.send?.({ connection, description: await master.answer(offer) } satisfies About)
  const link = createLink<Said, Said>(await channel, options())
  link.events.on('close', () => connections.delete(connection))
  while (link.open) {
    for (let n = 0; n < FRAMES_PER_TURN; n++) {
      if (link.hasRoom) link.send(MESSAGE)
      await Promise.resolve()
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
}

process.on('message', ({ connection, candidate, description }: About) => {
  if (description !== undefined) void serve(connection, description)
  if (candidate !== undefined) connections.get(connection)?.addCandidate(candidate)
})
