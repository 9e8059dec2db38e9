/** `named-master/nameserver`: what an embedder needs. */
export { createNameServer } from './server.js'
export type { Handler, NameServer, NameServerOptions } from './server.js'
export type { Limits } from './limits.js'
export type { TurnConfig, TurnEntry } from './ice.js'
export { NamedMasterError } from '../src/errors.js'
export type { ErrorCode } from '../src/errors.js'
