/**
 * A state of 20 MB and of 50 MB to a new slave, against bare wrtc moving the same number of bytes at its best message
 * size. Both begin with nothing but a loaded engine, and connect first. The slave ends with the state checked and ready;
 * the bare one with bytes. The first to join has the master encode the state, which those who come later share.
 */
import { createStore } from 'named-master'
import { boardOf } from '../content.mjs'
import { connect, nameServer, newSlave, startMaster } from '../contenders/product.mjs'
import { BareEnd, introduce } from '../contenders/wrtc.mjs'
import { median } from '../statistics.mjs'

/** What the bare ends are tried with: the engine takes no more than the last. */
const MESSAGE_BYTES = [16, 64, 256].map((kibibytes) => kibibytes * 1024)

const stores = new Map()
let master
const source = new BareEnd()
const texts = new Map()

/** The bare end that is new: it counts, and may parse what it got. */
const sink = { end: undefined, expected: 0, got: [], bytes: 0, all: undefined }
function take(data) {
  sink.got.push(data)
  sink.bytes += data.byteLength
  if (sink.bytes === sink.expected) sink.all()
}

const megabytesPerSecond = (bytes, began) => bytes / 1e6 / ((performance.now() - began) / 1000)

export const processes = {
  nameServer,
  master: {
    prepare(megabytes) {
      const state = boardOf(megabytes)
      stores.set(megabytes, createStore(state))
      return Buffer.byteLength(JSON.stringify(state))
    },
    /** A new master, which has encoded nothing yet. */
    async serve(url, name, megabytes) {
      await master?.close()
      globalThis.gc()
      master = await startMaster(url, name, stores.get(megabytes))
    },
  },
  slave: {
    async join(url, name, bytes) {
      globalThis.gc()
      const slave = newSlave(url)
      const began = performance.now()
      await connect(slave, name)
      const rate = megabytesPerSecond(bytes, began)
      if (slave.getState().archive.length < 1000) throw new Error('This is not the state')
      await slave.disconnect()
      return { rate }
    },
  },
  bareSource: {
    ...source.commands,
    prepare: (megabytes) => void texts.set(megabytes, Buffer.from(JSON.stringify(boardOf(megabytes)))),
    async send(megabytes, messageBytes) {
      await source.opened
      const text = texts.get(megabytes)
      for (let at = 0; at < text.length; at += messageBytes) {
        source.channel.send(text.subarray(at, at + messageBytes))
        await source.room()
      }
    },
  },
  bareSink: {
    begin(bytes) {
      globalThis.gc()
      Object.assign(sink, { end: new BareEnd(take), expected: bytes, got: [], bytes: 0 })
      sink.began = performance.now()
      sink.done = new Promise((resolve) => (sink.all = resolve))
    },
    ...Object.fromEntries(
      Object.keys(source.commands).map((command) => [command, (...args) => sink.end.commands[command](...args)]),
    ),
    async received(parses) {
      await sink.done
      if (parses) JSON.parse(Buffer.concat(sink.got.map((piece) => new Uint8Array(piece))).toString())
      return { rate: megabytesPerSecond(sink.expected, sink.began) }
    },
  },
}

export async function run(bench) {
  const url = await bench.start('nameServer').ask('open')
  const [master, first, later, source, sink] = ['master', 'slave', 'slave', 'bareSource', 'bareSink'].map((role) =>
    bench.start(role),
  )
  const measures = []
  let best
  let names = 0
  for (const megabytes of [20, 50]) {
    const bytes = await master.ask('prepare', megabytes)
    await source.ask('prepare', megabytes)
    const move = (messageBytes, parses) => moveBare(source, sink, { bytes, megabytes, messageBytes, parses })
    best ??= await bestMessage(bench, move)
    const measured = await bench.interleave(bench.size(2, 7), {
      'first to join': async () => {
        await master.ask('serve', url, `bench-${++names}`, megabytes)
        return first.ask('join', url, `bench-${names}`, bytes)
      },
      'later to join': () => later.ask('join', url, `bench-${names}`, bytes),
      'bare wrtc': () => move(best, false),
      'bare wrtc, parsed': () => move(best, true),
    })
    const aims = ['first to join', 'later to join'].flatMap((of) => [
      { of, against: 'bare wrtc', atLeast: 0.85 },
      { of, against: 'bare wrtc, parsed' },
    ])
    measures.push({ what: `${megabytes} MB`, unit: 'MB/s', rounds: measured.rate, aims })
  }
  measures.push({ what: 'best message of bare wrtc', unit: 'KiB', rounds: { 'bare wrtc': [best / 1024] } })
  return measures
}

async function moveBare(source, sink, { bytes, megabytes, messageBytes, parses }) {
  await sink.ask('begin', bytes)
  await introduce(sink, source)
  const sent = source.ask('send', megabytes, messageBytes)
  const figures = await sink.ask('received', parses)
  await sent
  await Promise.all([sink.ask('hangUp'), source.ask('hangUp')])
  return figures
}

async function bestMessage(bench, move) {
  const sizes = Object.fromEntries(MESSAGE_BYTES.map((size) => [size, () => move(size, false)]))
  const { rate } = await bench.interleave(bench.size(1, 3), sizes)
  return MESSAGE_BYTES.reduce((best, size) => (median(rate[size]) > median(rate[best]) ? size : best))
}
