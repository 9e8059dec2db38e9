/** Two real connections in one process, joined. */
import type { Channel } from '#src/link/channel.js'
import { Connection } from '#src/link/datachannel.js'
import type { NativeOptions } from '#src/link/native.js'
import type { RtcEngine } from '#rtc'

export const opened = (connection: Connection): Promise<Channel> =>
  new Promise((resolve, reject) => {
    connection.events.once('open', resolve)
    connection.events.once('closed', reject)
  })

/** Passes the candidates of each to the other, as a name server would. */
export function introduce(slave: Connection, master: Connection): void {
  slave.events.on('candidate', (candidate) => master.addCandidate(candidate))
  master.events.on('candidate', (candidate) => slave.addCandidate(candidate))
}

export async function connect(rtc: RtcEngine, options: NativeOptions = {}) {
  const slave = Connection.offering(rtc, options)
  const master = Connection.answering(rtc, options)
  introduce(slave, master)
  const both = Promise.all([opened(slave), opened(master)])
  await slave.accept(await master.answer(await slave.description()))
  const [left, right] = await both
  return { slave, master, left, right }
}
