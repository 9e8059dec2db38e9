/**
 * How long the commits of other slaves take while 50 MB of state go to a new one, against the same without it. The new
 * one is either the first for whom the master encodes this state, or one that joins when it is encoded already.
 */
import { createStore } from 'named-master'
import { boardOf, REMARK } from '../content.mjs'
import { connect, connectSlave, nameServer, newSlave, shows, startMaster } from '../contenders/product.mjs'
import { quantile } from '../statistics.mjs'

const MEGABYTES = 50
/** Between two changes of one slave, in milliseconds: a hundred a second, as one who drags something makes. */
const PACE_MS = 10

let store
let big
let slave
let taken
let timer

export const processes = {
  nameServer,
  master: {
    async serve(url) {
      big = boardOf(MEGABYTES)
      store = createStore({ hits: 0, remark: '' })
      store.on('hit', (state, remark) => ({ ...state, hits: state.hits + 1, remark }))
      await startMaster(url, 'bench', store)
    },
    /** By a commit, so that those who are here need no snapshot, and the next to join needs a new one. */
    grow: () => void store.mutate((state) => ({ ...state, board: big })),
    collect: () => globalThis.gc(),
    shrink() {
      store.mutate(({ board, ...rest }) => rest)
      globalThis.gc()
    },
  },
  other: {
    async join(url) {
      slave = await connectSlave(url, 'bench')
    },
    sees: (grown) => shows(slave, (state) => (state.board !== undefined) === grown),
    /** Before anybody begins: what one collects, the others would wait for. */
    collect: () => globalThis.gc(),
    begin() {
      taken = []
      timer = setInterval(() => {
        const began = performance.now()
        slave.emit('hit', REMARK)
        const own = taken
        void slave.settled().then(() => own.push(performance.now() - began))
      }, PACE_MS)
    },
    async end() {
      clearInterval(timer)
      await slave.settled()
      return taken
    },
  },
  newcomer: {
    async join(url) {
      globalThis.gc()
      const newcomer = newSlave(url)
      const began = performance.now()
      await connect(newcomer, 'bench')
      const milliseconds = performance.now() - began
      if (newcomer.getState().board === undefined) throw new Error('This is not the state')
      void newcomer.disconnect()
      return milliseconds
    },
  },
}

export async function run(bench) {
  const url = await bench.start('nameServer').ask('open')
  const master = bench.start('master')
  await master.ask('serve', url)
  const newcomer = bench.start('newcomer')
  const others = Array.from({ length: bench.size(2, 5) }, () => bench.start('other'))
  const all = (...question) => Promise.all(others.map((other) => other.ask(...question)))
  await all('join', url)

  const latencies = async (during) => {
    await Promise.all([master.ask('collect'), all('collect')])
    await all('begin')
    await during()
    const taken = (await all('end')).flat()
    return { p50: quantile(taken, 0.5), p99: quantile(taken, 0.99), most: Math.max(...taken) }
  }
  let milliseconds = 0
  const joining = () => latencies(async () => (milliseconds = await newcomer.ask('join', url)))
  const contenders = {
    'first to join': async () => {
      await Promise.all([master.ask('grow'), all('sees', true)])
      return joining()
    },
    'later to join': joining,
    'nobody joins': async () => {
      const figures = await latencies(() => new Promise((resolve) => setTimeout(resolve, milliseconds)))
      await Promise.all([master.ask('shrink'), all('sees', false)])
      return figures
    },
  }
  // A round takes many seconds, so that the quick run has none to drop.
  const measured = await bench.interleave(bench.size(2, 5), contenders, bench.size(0, 1))
  const against = (aim) => ['first to join', 'later to join'].map((of) => ({ of, against: 'nobody joins', ...aim }))
  return [
    { what: 'commit of another, 99%', unit: 'ms', rounds: measured.p99, aims: against({ atMost: 2 }) },
    { what: 'commit of another, median', unit: 'ms', rounds: measured.p50, aims: against({}) },
    { what: 'commit of another, longest', unit: 'ms', rounds: measured.most, aims: against({}) },
  ]
}
