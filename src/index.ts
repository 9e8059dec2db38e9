/** `named-master`: everything that runs in Node and in a browser alike. */
export * from './master/index.js'
export * from './slave/index.js'
export * from './store/index.js'
