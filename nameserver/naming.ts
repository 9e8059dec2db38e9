/**
 * What each command of the naming vocabulary does: joins names, whereabouts and introductions. Knows sockets by their
 * ids only, and takes who speaks from the socket, never from a message.
 *
 * Order: what follows from an answer (a name is reachable, the former holder is evicted, watchers are told, held
 * candidates go out) happens after the answer has gone out, so that a client never hears the consequence first.
 */
import type { Clock } from '../src/clock.js'
import { NamedMasterError } from '../src/errors.js'
import type { Log } from '../src/log.js'
import { envelope } from '../src/protocol/envelope.js'
import {
  NAME_RULE,
  normalizeName,
  type ClientCommand,
  type ClientPayload,
  type ResultOf,
} from '../src/protocol/naming.js'
import { Introductions, masterOffline, type Post } from './introductions.js'
import {
  Buckets,
  STARTS_PER_ADDRESS_AT_ONCE,
  STARTS_PER_ADDRESS_PER_SECOND,
  tooMany,
  type Limits,
  type SocketAllowance,
} from './limits.js'
import { Names } from './names.js'
import type { Table } from '#storage'
import { memoryWhereabouts } from './whereabouts.js'

/** Who speaks. */
export interface Speaker {
  readonly socket: string
  /** What counts as one address, see limits.ts. */
  readonly address: string
  readonly allowance: SocketAllowance
}

export interface Reply<C extends ClientCommand> {
  readonly result: ResultOf<C>
  /** What follows, once the result has been sent. */
  readonly afterwards?: () => Promise<void>
}

export type Commands = { [C in ClientCommand]: (payload: ClientPayload<C>, from: Speaker) => Promise<Reply<C>> }

export interface Naming {
  readonly commands: Commands
  /** A socket has gone. */
  readonly gone: (socket: string) => Promise<void>
  /** Lets nobody wait. */
  readonly close: () => void
}

const HOUR_SECONDS = 3600

export function createNaming(table: Table<unknown>, post: Post, limits: Limits, clock: Clock, log: Log): Naming {
  const whereabouts = memoryWhereabouts()
  const introductions = new Introductions(post, whereabouts, clock)
  const names = new Names(table, { clock, expired: (name, claim) => void expire(name, claim) })
  const hourly = limits.registrationsPerAddressPerHour
  const registrations = new Buckets(clock, hourly, hourly / HOUR_SECONDS)
  const connects = new Buckets(clock, 10 * limits.connectsPerNamePerSecond, limits.connectsPerNamePerSecond)

  const starts = new Buckets(clock, STARTS_PER_ADDRESS_AT_ONCE, STARTS_PER_ADDRESS_PER_SECOND)

  const mayRegister = (from: Speaker) => () => {
    if (!registrations.take(from.address))
      throw tooMany('new names from this address: wait an hour, or start a name you have')
  }

  /** The name is at this socket now; whoever had it is told, and whoever waits for it. */
  async function arrive(name: string, from: Speaker, claim: number): Promise<void> {
    const { placed, before } = await whereabouts.place(name, { socket: from.socket, claim })
    const evicted = (socket: string, newer: number) => post.tell(socket, envelope('evicted', { name, claim: newer }))
    if (!placed) {
      // A newer claim came between the answer and this.
      if (before !== undefined) evicted(from.socket, before.claim)
      return
    }
    if (before !== undefined && before.socket !== from.socket && before.claim < claim) evicted(before.socket, claim)
    if (!post.alive(from.socket)) {
      await whereabouts.leave(name, from.socket)
      return
    }
    log('info', `"${name}" is served`, { name, claim, socket: from.socket })
    for (const socket of await whereabouts.arrived(name)) post.tell(socket, envelope('available', { name }))
  }

  /** Nobody confirmed the name: it is free, so its holder has it no more. The next claim would be newer than its own. */
  async function expire(name: string, claim: number): Promise<void> {
    log('info', `"${name}" was registered and never confirmed: it is free again`, { name })
    const place = await whereabouts.where(name)
    if (place === undefined || !(await whereabouts.leave(name, place.socket))) return
    post.tell(place.socket, envelope('evicted', { name, claim: claim + 1 }))
  }

  const commands: Commands = {
    async startServer({ name: asked, ...rest }, from) {
      const name = demandName(asked)
      if (!starts.take(from.address)) throw tooMany('starts from this address: wait a second between two')
      const result = await names.claim({ name, ...rest }, mayRegister(from))
      return result.answer === 'exists' ? { result } : { result, afterwards: () => arrive(name, from, result.claim) }
    },

    async confirm({ name, key }) {
      await names.confirm(name, key)
      return { result: {} }
    },

    async renew({ name, key, claim }, from) {
      const result = await names.renew(name, key, claim, mayRegister(from))
      return result.answer === 'evicted' ? { result } : { result, afterwards: () => arrive(name, from, claim) }
    },

    /** A master that has been evicted stops itself only: the newer holder keeps the name. */
    async stopServer({ name, key }, from) {
      await names.check(name, key)
      if (await whereabouts.leave(name, from.socket)) log('info', `"${name}" is stopped`, { name })
      return { result: { answer: 'stopped' } }
    },

    async connect(payload, from) {
      const name = demandName(payload.name)
      from.allowance.connect()
      if (!connects.take(name)) throw tooMany(`connects to "${name}" by everybody: wait a second`)
      const place = await whereabouts.where(name)
      if (place === undefined) throw (await names.known(name)) ? masterOffline(name) : noSuchMaster(name)
      const result = await introductions.connect(from.socket, place.socket, name, payload)
      return { result, afterwards: () => introductions.settle(result.introduction) }
    },

    async watch({ name: asked }, { socket }) {
      const name = demandName(asked)
      // First watch, then look: a name that comes up in between is seen either way. And first watch, then count: many
      // may be asked for in one packet.
      await whereabouts.watch(name, socket)
      if ((await whereabouts.watches(socket)) > limits.watchesPerSocket) {
        await whereabouts.unwatch(name, socket)
        throw tooMany('watched names: unwatch one first')
      }
      const live = (await whereabouts.where(name)) !== undefined
      if (live) await whereabouts.unwatch(name, socket)
      return { result: { live, registered: live || (await names.known(name)) } }
    },

    async unwatch({ name }, { socket }) {
      await whereabouts.unwatch(demandName(name), socket)
      return { result: {} }
    },

    async signal({ introduction, candidate }, { socket }) {
      await introductions.signal(socket, introduction, candidate)
      return { result: {} }
    },

    async opened({ introduction }, { socket }) {
      await introductions.opened(socket, introduction)
      return { result: {} }
    },

    async end({ introduction }, { socket }) {
      await introductions.end(socket, introduction)
      return { result: {} }
    },
  }

  return {
    commands,
    async gone(socket) {
      introductions.gone(socket, await whereabouts.gone(socket))
    },
    close: () => introductions.close(),
  }
}

function demandName(name: string): string {
  const normal = normalizeName(name)
  if (normal === undefined) throw new NamedMasterError('invalid-name', NAME_RULE)
  return normal
}

const noSuchMaster = (name: string): NamedMasterError =>
  new NamedMasterError(
    'no-such-master',
    `Nobody has registered "${name}" here: check the name and the name server's address`,
  )
