/** `named-master/store` */
export { NamedMasterError, type ErrorCode } from '../errors.js'
export type { EventInfo, Handler, Microstore, Mutator, Phase, StoreListener } from './microstore.js'
export { createStore, type StoreOptions } from './store.js'
