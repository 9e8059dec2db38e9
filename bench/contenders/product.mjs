/** named-master's own ends: what the rows share of them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Master, Slave } from 'named-master'
import { createNameServer } from 'named-master/nameserver'
import { loadRtc } from '#rtc'

const log = (level, sentence, details) => {
  if (level === 'error') console.error(sentence, details)
}

/** Of the clients of one machine, which share an address, a benchmark asks more than an office does. */
const LIMITS = {
  socketsPerAddress: 100_000,
  registrationsPerAddressPerHour: 1_000_000,
  messagesPerSocketPerSecond: 1_000_000,
  connectsPerSocketPerMinute: 10_000_000,
  connectsPerNamePerSecond: 1_000_000,
}

/** What a server's process uses itself. */
export const ownUse = {
  /** Microseconds of a processor so far. */
  cpu() {
    const { user, system } = process.cpuUsage()
    return user + system
  },
  /** Bytes of memory that are left after the garbage is gone. */
  memory() {
    globalThis.gc()
    return process.memoryUsage().rss
  },
}

/** The name server as it is in life, with its database in a folder; `processes.nameServer` of a row. */
export const nameServer = {
  async open() {
    const data = mkdtempSync(join(tmpdir(), 'named-master-bench-'))
    process.once('exit', () => rmSync(data, { recursive: true, force: true }))
    // Each client names an address of its own as a proxy would (see rows/name-server.mjs).
    const server = await createNameServer({ port: 0, data, turn: false, trustProxy: true, limits: LIMITS, log })
    return server.url
  },
  ...ownUse,
}

export const newMaster = (url, store, options = {}) => new Master(url, { store, log, ...options })

export async function startMaster(url, name, store, options) {
  const master = newMaster(url, store, options)
  const answer = await master.startServer(name)
  if (answer !== 'registered') throw new Error(`startServer answered ${answer}`)
  return master
}

export const newSlave = (url, options = {}) => new Slave(url, { log, ...options })

export async function connectSlave(url, name, options) {
  const slave = newSlave(url, options)
  await connect(slave, name)
  return slave
}

export async function connect(slave, name) {
  if (!(await slave.connect(name))) throw slave.lastError
}

const HEARTBEAT = /^\[\{"command":"p[io]ng"[^[]*\]$/

/** The engine, and what was sent over its channels so far, heartbeats left out. */
export async function countingRtc() {
  const engine = await loadRtc()
  const sent = { bytes: 0 }
  class Counting extends engine.RTCPeerConnection {
    createDataChannel(...args) {
      const channel = super.createDataChannel(...args)
      const send = channel.send.bind(channel)
      channel.send = (frame) => {
        send(frame)
        if (typeof frame !== 'string') sent.bytes += frame.byteLength
        else if (!HEARTBEAT.test(frame)) sent.bytes += Buffer.byteLength(frame)
      }
      return channel
    }
  }
  return { rtc: { RTCPeerConnection: Counting }, sent }
}

/** Resolves when the state shown is as it should be. */
export function shows(store, is) {
  return new Promise((resolve) => {
    const look = () => {
      if (!is(store.getState())) return
      off()
      resolve()
    }
    const off = store.subscribe(look)
    look()
  })
}
