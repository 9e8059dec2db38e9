/**
 * Every code a failure can have, here or at another's: a closed union, stable across versions, kebab case.
 * The sentence that goes with one is written where it is raised, because only that place knows what to do about it.
 */
export const ERROR_CODES = [
  // reaching a name server, a name, a master
  'name-server-unreachable', 'no-such-master', 'master-offline', 'unreachable', 'refused', 'timeout', 'aborted',
  // names and their keys
  'invalid-name', 'incorrect-key', 'evicted', 'moved', 'not-registered',
  // what was said
  'invalid-message', 'invalid-json', 'too-large', 'too-many', 'unsupported-version', 'no-such-introduction',
  // changes
  'not-connected', 'conflict', 'conflict-not-repeatable', 'invalid-patch', 'handler-failed', 'mutator-failed',
  'ambiguous-mutator', 'store-busy', 'not-allowed', 'outbox-full', 'lost', 'unknown-outcome',
  // calls
  'no-such-method', 'method-failed',
  // life
  'closed', 'stopped', 'silent', 'too-slow', 'storage-full', 'storage-failed', 'storage-locked', 'storage-foreign', 'storage-newer',
  'storage-damaged', 'invalid-config',
  'port-in-use', 'internal',
] as const // prettier-ignore

export type ErrorCode = (typeof ERROR_CODES)[number]

const known: ReadonlySet<string> = new Set(ERROR_CODES)

/** A code of a newer version reads as `internal`; its sentence still tells. */
export const toErrorCode = (code: string): ErrorCode => (known.has(code) ? (code as ErrorCode) : 'internal')
