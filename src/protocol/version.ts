/** The number of the wire. A change of any schema needs a new one and a line here (a test holds the schemas' hash). */
export const PROTOCOL_VERSION = 1

/** The oldest version still spoken with. */
export const OLDEST_VERSION = 1

/** One line a step: what changed and what an older end sees of it. */
export const HISTORY: Readonly<Record<number, string>> = {
  1: 'The first: naming, introductions, replication, calls, volatile events.',
}
