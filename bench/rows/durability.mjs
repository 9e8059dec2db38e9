/**
 * What a journal costs: commits a second of a master's own program, until they may be told, in memory, in a folder
 * (`process`), and on the disk itself (`disk`). Many at once, as from busy slaves; and one after the other, each when the
 * one before it is written.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createStore } from 'named-master'
import { deflate } from '#deflate'
import { systemClock } from '#src/clock.js'
import { openJournal } from '#src/master/journal.js'
import { Methods } from '#src/master/methods.js'
import { Sessions } from '#src/master/sessions.js'
import { coreOf } from '#src/store/store.js'
import { REMARK } from '../content.mjs'

/** Changes made between two turns of the event loop. */
const BURST = 100

const log = (level, sentence, details) => {
  if (level === 'error') console.error(sentence, details)
}

let store
let written = 0
let wake = () => undefined

const turn = () => new Promise((resolve) => setImmediate(resolve))
async function until(count) {
  while (written < count) await new Promise((resolve) => (wake = resolve))
}
function writing(append) {
  return async (batch) => {
    await append(batch)
    written += batch.commits.length
    wake()
  }
}

export const processes = {
  master: {
    async open(durability) {
      store = createStore({ count: 0, remark: '' })
      store.on('add', (state, { by, remark }) => ({ ...state, count: state.count + by, remark }))
      const options = { core: coreOf(store), methods: new Methods(), deflate, clock: systemClock, log }
      if (durability === 'memory') return void new Sessions({ ...options, append: writing(async () => undefined) })
      const data = mkdtempSync(join(tmpdir(), 'named-master-bench-'))
      process.once('exit', () => rmSync(data, { recursive: true, force: true }))
      const journal = await openJournal(data, { durability, log })
      const sessions = new Sessions({ ...options, append: writing((batch) => journal.append(batch)) })
      sessions.restore(journal.kept)
      await journal.begin(sessions.term, () => sessions.moment())
    },
    /** @param atOnce how many are made before those before them are written */
    async round(count, atOnce) {
      const began = performance.now()
      const before = written
      for (let made = 0; made < count; made += atOnce) {
        for (let i = 0; i < atOnce; i++) {
          store.emit('add', { by: 1, remark: REMARK })
          if (i % BURST === BURST - 1) await turn()
        }
        await until(before + made + atOnce)
      }
      return { rate: count / ((performance.now() - began) / 1000) }
    },
  },
}

export async function run(bench) {
  const kinds = ['process', 'disk', 'memory']
  const masters = {}
  for (const kind of kinds) {
    masters[kind] = bench.start('master')
    await masters[kind].ask('open', kind)
  }
  const measures = []
  for (const [what, count, atOnce] of [
    ['many at once', bench.size(10_000, 50_000), 1_000],
    ['one after the other', bench.size(500, 5_000), 1],
  ]) {
    const rounds = Object.fromEntries(kinds.map((kind) => [kind, () => masters[kind].ask('round', count, atOnce)]))
    const rates = await bench.interleave(bench.size(3, 7), rounds)
    measures.push({
      what,
      unit: '/s',
      rounds: rates.rate,
      aims: [
        { of: 'process', against: 'memory' },
        { of: 'disk', against: 'memory' },
      ],
    })
  }
  return measures
}
