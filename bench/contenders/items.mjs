/** Masters and slaves with states of several sizes, of which one item is changed: what in-place and new-state share. */
import { createStore } from 'named-master'
import { itemsOf, keyOf } from '../content.mjs'
import { connectSlave, countingRtc, nameServer, startMaster } from './product.mjs'
import { times } from '../times.mjs'

const SIZES = [10, 1_000, 100_000]
const SHAPES = ['object', 'array']

/** The processes of a row. @param change (state, key): changes one item, or returns a new state */
export function ends(change) {
  const served = new Map()
  const joined = new Map()
  /** What this process sent, one counter for each shape. */
  const counters = []
  const sent = () => counters.reduce((sum, { bytes }) => sum + bytes, 0)
  // Spread over the whole state.
  const spot = (shape, size, i) => (shape === 'array' ? (i * 7919) % size : keyOf((i * 7919) % size))

  return {
    nameServer,
    master: {
      async serve(url, shape, size) {
        const { rtc, sent: counter } = await countingRtc()
        counters.push(counter)
        const store = createStore({ ...itemsOf(size, shape), changes: 0 })
        store.on('change', (state, key) => change(state, key))
        await startMaster(url, `${shape}-${size}`, store, { rtc })
        served.set(shape, { store, size, plain: itemsOf(size, shape) })
      },
      /** Microseconds of one `mutate`, and of the mutator alone on a plain state. */
      mutate(shape, count) {
        const { store, size, plain } = served.get(shape)
        globalThis.gc()
        const began = performance.now()
        for (let i = 0; i < count; i++) store.mutate((state) => change(state, spot(shape, size, i)))
        const between = performance.now()
        let state = plain
        for (let i = 0; i < count; i++) state = change(state, spot(shape, size, i)) ?? state
        const ended = performance.now()
        const [total, own] = [between - began, ended - between].map((ms) => (ms * 1000) / count)
        return { total, own, ours: Math.max(0, total - own) }
      },
      sent,
    },
    slave: {
      async join(url, shape, size) {
        const { rtc, sent: counter } = await countingRtc()
        counters.push(counter)
        const slave = await connectSlave(url, `${shape}-${size}`, { rtc })
        slave.on('change', (state, key) => change(state, key))
        joined.set(shape, { slave, size })
      },
      async emit(shape, count) {
        const { slave, size } = joined.get(shape)
        const { p50 } = await times(count, (i) => {
          slave.emit('change', spot(shape, size, i))
          return slave.settled()
        })
        return p50
      },
      sent,
    },
  }
}

const contenderOf = (size) => `${size.toLocaleString('en-US')} items`

/**
 * @param rounds how many
 * @param counts of changes in a round, by the number of items
 * @param aims of time and of bytes, against the smallest state
 * @param apart whether the mutator's own time is told apart
 */
export async function measureSizes(bench, { rounds, counts, aims, apart = false }) {
  const url = await bench.start('nameServer').ask('open')
  const measures = []
  const pairs = []
  for (const size of SIZES) {
    const [master, slave] = [bench.start('master'), bench.start('slave')]
    for (const shape of SHAPES) {
      await master.ask('serve', url, shape, size)
      await slave.ask('join', url, shape, size)
    }
    pairs.push({ size, master, slave })
  }
  for (const shape of SHAPES) {
    const round = ({ size, master, slave }) => oneRound(master, slave, shape, counts(size))
    const contenders = pairs.map((pair) => [contenderOf(pair.size), () => round(pair)])
    const measured = await bench.interleave(rounds, Object.fromEntries(contenders))
    const [least, ...larger] = SIZES.map(contenderOf)
    const against = (aim) => larger.map((of) => ({ of, against: least, ...aim }))
    const add = (what, unit, rounds, aim) =>
      measures.push({ what: `${shape}, ${what}`, unit, rounds, aims: against(aim) })
    add('a mutate of the master', 'µs', measured.total, aims.time)
    if (apart) {
      add('of it the mutator on a plain state', 'µs', measured.own, {})
      add('of it ours', 'µs', measured.ours, {})
    }
    add("a slave's emit until committed", 'µs', measured.emit, aims.time)
    add('on the wire for it', 'B', measured.bytes, aims.bytes)
  }
  return measures
}

async function oneRound(master, slave, shape, count) {
  const figures = await master.ask('mutate', shape, count)
  // Committed after all of these, so that none of them is counted or waited for below.
  await slave.ask('emit', shape, 1)
  const sent = async () => (await master.ask('sent')) + (await slave.ask('sent'))
  const before = await sent()
  const emit = await slave.ask('emit', shape, count)
  return { ...figures, emit, bytes: ((await sent()) - before) / count }
}
