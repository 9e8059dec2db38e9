/**
 * A master in a process that will be killed: its arguments are its data folder, the durability, and `hasty` for one that
 * breaks the rule, and announces before it has written. It serves over TCP, and prints its port and how long it took to
 * read the folder.
 */
import { createServer } from 'node:net'
import { deflate } from '#deflate'
import { systemClock } from '#src/clock.js'
import { createLink } from '#src/link/link.js'
import { openJournal, type Durability } from '#src/master/journal.js'
import { Methods } from '#src/master/methods.js'
import { Sessions } from '#src/master/sessions.js'
import { parseUp, type Down, type Up } from '#src/protocol/replication.js'
import { coreOf, createStore } from '#src/store/store.js'
import { MAX_MESSAGE_BYTES, startingState } from './kills.js'
import { SocketChannel } from './socket-channel.js'

/** How late a hasty one writes, in milliseconds. */
const HASTE_MS = 30

async function main([data = '', durability, hasty]: readonly string[]): Promise<void> {
  const began = performance.now()
  const store = createStore(startingState())
  store.on('token', ({ tokens }, token: string) => void (tokens[token] = (tokens[token] ?? 0) + 1))
  store.on('ballast', (state, ballast: string) => void (state.ballast = ballast))
  store.on('pair', ({ pairs }) => {
    pairs.first++
    store.emit('second')
  })
  store.on('second', ({ pairs }) => void pairs.second++)
  const log = (level: string, sentence: string, details: unknown): void =>
    void (level === 'error' && console.error(sentence, details))
  const journal = await openJournal(data, { durability: durability as Durability, log })
  const late = async (batch: Parameters<typeof journal.append>[0]): Promise<void> => {
    setTimeout(() => void journal.append(batch), HASTE_MS)
  }
  const sessions = new Sessions({
    core: coreOf(store)!,
    methods: new Methods(),
    append: hasty === 'hasty' ? late : (batch) => journal.append(batch),
    deflate,
    clock: systemClock,
    log,
  })
  sessions.restore(journal.kept)
  await journal.begin(sessions.term, () => sessions.moment())
  const server = createServer((socket) => {
    const link = createLink<Up, Down>(new SocketChannel(socket), { parse: parseUp, maxMessageBytes: MAX_MESSAGE_BYTES })
    const off = link.events.on('message', (message) => {
      off()
      if (message.command === 'hello') sessions.welcome(link, message.payload)
    })
  })
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address() as { port: number }
    console.log(`serves on ${port} after ${(performance.now() - began).toFixed(1)} ms`)
  })
}

await main(process.argv.slice(2))
