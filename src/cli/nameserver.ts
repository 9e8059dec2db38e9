/** `named-master nameserver`: serves until SIGTERM or SIGINT. */
import { createNameServer } from '../../nameserver/server.js'
import { createLog } from './logging.js'
import type { NAME_SERVER_KEYS, Settings } from './options.js'

type NameServerSettings = Pick<Settings, (typeof NAME_SERVER_KEYS)[number]>

/** As a shell counts them: 128 and the signal's number. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const

/** Resolves when it was told to end and has closed. @throws what createNameServer throws */
export async function runNameServer({ logLevel, logFormat, ...settings }: NameServerSettings): Promise<void> {
  const log = createLog({ logLevel, logFormat })
  const told = firstSignal()
  const { turn, ...rest } = settings
  const server = await createNameServer({ ...rest, ...(turn !== undefined && { turn }), log })
  process.stdout.write(`named-master: serving at ${server.url}\n`)
  log('info', `Closing on ${await told}`)
  await server.close()
}

/** The second one ends the process as it is: whoever sends it no longer wants to wait. */
function firstSignal(): Promise<string> {
  return new Promise((resolve) => {
    let signals = 0
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        signals += 1
        if (signals > 1) process.exit(EXIT_CODES[signal])
        resolve(signal)
      })
    }
  })
}
