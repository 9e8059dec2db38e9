/**
 * Where a name is now, who waits for it, and who is introduced to whom: all that is true only while sockets live.
 *
 * Behind one small interface of promises, in memory at first, so that the name server may one day be several
 * processes (sockets are named by their ids, and nothing here is a socket). Every answer may be out of date when it
 * arrives: who acts on it says so to the socket itself, which may be gone.
 */

export interface Place {
  readonly socket: string
  /** The newest claim has the name; an older one never takes it back. */
  readonly claim: number
}

/** One permission to exchange signals. */
export interface Introduction {
  readonly id: string
  readonly slave: string
  readonly master: string
}

export interface Whereabouts {
  /** Puts a name at a socket, unless a newer claim is there. Answers who had it before. */
  place(name: string, at: Place): Promise<{ readonly placed: boolean; readonly before: Place | undefined }>
  where(name: string): Promise<Place | undefined>
  /** Only if the name is at this socket. */
  leave(name: string, socket: string): Promise<boolean>

  /** Once: `arrived` forgets. */
  watch(name: string, socket: string): Promise<void>
  unwatch(name: string, socket: string): Promise<void>
  watches(socket: string): Promise<number>
  /** Who waited for this name. */
  arrived(name: string): Promise<readonly string[]>

  introduce(introduction: Introduction): Promise<void>
  introduction(id: string): Promise<Introduction | undefined>
  /** False when it was not there (any more). */
  separate(id: string): Promise<boolean>

  /** Forgets a socket's names and watches and ends its introductions; answers those. */
  gone(socket: string): Promise<readonly Introduction[]>
}

export function memoryWhereabouts(): Whereabouts {
  const places = new Map<string, Place>()
  const watchers = new Index()
  const introductions = new Map<string, Introduction>()
  const names = new Index()
  const introduced = new Index()

  function separate(id: string): boolean {
    const introduction = introductions.get(id)
    if (introduction === undefined) return false
    introductions.delete(id)
    introduced.remove(introduction.slave, id)
    introduced.remove(introduction.master, id)
    return true
  }
  function leave(name: string, socket: string): boolean {
    if (places.get(name)?.socket !== socket) return false
    places.delete(name)
    names.remove(socket, name)
    return true
  }
  return {
    async place(name, at) {
      const before = places.get(name)
      if (before !== undefined && before.claim > at.claim) return { placed: false, before }
      if (before !== undefined) names.remove(before.socket, name)
      places.set(name, at)
      names.add(at.socket, name)
      return { placed: true, before }
    },
    where: async (name) => places.get(name),
    leave: async (name, socket) => leave(name, socket),

    watch: async (name, socket) => watchers.add(name, socket),
    unwatch: async (name, socket) => watchers.remove(name, socket),
    watches: async (socket) => watchers.countOf(socket),
    async arrived(name) {
      const waiting = watchers.of(name)
      for (const socket of waiting) watchers.remove(name, socket)
      return waiting
    },

    async introduce(introduction) {
      introductions.set(introduction.id, introduction)
      introduced.add(introduction.slave, introduction.id)
      introduced.add(introduction.master, introduction.id)
    },
    introduction: async (id) => introductions.get(id),
    separate: async (id) => separate(id),

    async gone(socket) {
      for (const name of names.of(socket)) leave(name, socket)
      watchers.removeEverywhere(socket)
      const ended: Introduction[] = []
      for (const id of introduced.of(socket)) {
        const introduction = introductions.get(id)
        if (introduction !== undefined && separate(id)) ended.push(introduction)
      }
      return ended
    },
  }
}

/** Many to many, from both sides; an empty side is forgotten. */
class Index {
  readonly #forward = new Map<string, Set<string>>()
  readonly #backward = new Map<string, Set<string>>()

  add(key: string, value: string): void {
    setOf(this.#forward, key).add(value)
    setOf(this.#backward, value).add(key)
  }

  remove(key: string, value: string): void {
    drop(this.#forward, key, value)
    drop(this.#backward, value, key)
  }

  of(key: string): string[] {
    return [...(this.#forward.get(key) ?? [])]
  }

  countOf(value: string): number {
    return this.#backward.get(value)?.size ?? 0
  }

  removeEverywhere(value: string): void {
    for (const key of [...(this.#backward.get(value) ?? [])]) this.remove(key, value)
  }
}

function setOf(map: Map<string, Set<string>>, key: string): Set<string> {
  let set = map.get(key)
  if (set === undefined) map.set(key, (set = new Set()))
  return set
}

function drop(map: Map<string, Set<string>>, key: string, value: string): void {
  const set = map.get(key)
  if (set?.delete(value) === true && set.size === 0) map.delete(key)
}
