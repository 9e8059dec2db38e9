/**
 * `npm test [-- FILE... | MOCHA OPTION...]`, also in a fresh clone: installs what is missing, builds, compiles test/ to
 * build/ and runs every test, or the files named. The last line is `N passed, N failed` over all processes.
 */
import { spawn } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { build } from './build.mjs'
import { filesBelow, fingerprint, isFresh, markFresh } from './fresh.mjs'
import { installPackages } from './install.mjs'
import { installPython } from './python.mjs'
import { CommandFailed, ended, root, runTool } from './run.mjs'
import { installSystemPackages } from './system-packages.mjs'

/**
 * What lies in a folder shares a process, or has one per file: wrtc may only be ended with its process, and a native
 * crash must be seen to be one file's. Tests in another language: a further suite here, which answers the same counts.
 */
const SUITES = [
  { folder: 'unit', processEach: false },
  { folder: 'integration', processEach: false },
  { folder: 'wrtc', processEach: true },
  { folder: 'browser', processEach: true },
  { folder: 'network', processEach: true },
  { folder: 'probe', processEach: true },
  { folder: 'faults', processEach: true },
]

/**
 * No process of tests takes longer than this; one that does hangs outside of mocha's own timeouts. The long form of the
 * faults kills a thousand masters.
 */
const PROCESS_MINUTES = process.env.FAULTS === 'long' ? 60 : 10

/** Test files as people name them (test/unit/x.test.ts, or what it compiles to); all else is mocha's. */
function readArguments(args) {
  const files = args.filter((argument) => /\.test\.[jt]s$/.test(argument))
  const compiled = files.map((file) => {
    const path = relative(root, resolve(file))
      .replace(/^test\//, 'build/')
      .replace(/\.ts$/, '.js')
    return join(root, path)
  })
  return { files: compiled, options: args.filter((argument) => !files.includes(argument)) }
}

async function prepare() {
  await installPackages()
  await installSystemPackages()
  await installPython()
  await build()
  await compileTests()
}

async function compileTests() {
  const print = fingerprint(['test', 'src', 'nameserver', 'tsconfig.json', 'package.json', 'package-lock.json'])
  if (isFresh('build', print)) return
  rmSync(join(root, 'build'), { recursive: true, force: true })
  await runTool('typescript/bin/tsc', ['-p', 'test'])
  markFresh('build', print)
}

/** The files of each process, in order. */
function plan(chosen) {
  const missing = chosen.find((file) => !existsSync(file))
  if (missing !== undefined) throw new CommandFailed(`There is no ${sourceOf(missing)}.`)
  return SUITES.flatMap(({ folder, processEach }) => {
    const all = filesBelow(join(root, 'build', folder)).filter((file) => file.endsWith('.test.js'))
    const files = chosen.length === 0 ? all : all.filter((file) => chosen.includes(file))
    return processEach ? files.map((file) => [file]) : files.length === 0 ? [] : [files]
  })
}

async function runMocha(files, options) {
  const mocha = join(root, 'node_modules/mocha/bin/mocha.js')
  const child = spawn(process.execPath, [mocha, ...options, ...files], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const told = {}
  child.on('message', (message) => Object.assign(told, message))
  const timer = setTimeout(() => {
    console.error(`The process takes longer than ${PROCESS_MINUTES} minutes and is ended.`)
    child.kill('SIGKILL')
  }, PROCESS_MINUTES * 60_000)
  const { code, signal } = await ended(child)
  clearTimeout(timer)
  return judge(told, code, signal)
}

/** A death by signal, a leak, an early exit: each is a failure beside those that mocha counted. */
function judge({ passed, failed = 0, fault: said }, code, signal) {
  const fault =
    signal !== null
      ? `the process died by ${signal}`
      : passed === undefined
        ? `the process ended with ${code} before its tests were over`
        : code !== 0 && failed === 0
          ? (said ?? `the tests passed, and then the process ended with ${code}`)
          : undefined
  return { passed: passed ?? 0, failed: fault === undefined ? failed : failed + 1, fault }
}

const sourceOf = (compiled) => `test/${relative(join(root, 'build'), compiled).replace(/\.js$/, '.ts')}`

const total = { passed: 0, failed: 0 }
const faults = []
try {
  const { files: chosen, options } = readArguments(process.argv.slice(2))
  await prepare()
  for (const files of plan(chosen)) {
    const title = files.length === 1 ? sourceOf(files[0]) : dirname(sourceOf(files[0]))
    console.log(`\n== ${title}`)
    const { passed, failed, fault } = await runMocha(files, options)
    total.passed += passed
    total.failed += failed
    if (failed > 0) faults.push(`${title}: ${fault ?? `${failed} failed`}`)
  }
  if (total.passed + total.failed === 0) throw new CommandFailed('No test ran.')
} catch (error) {
  total.failed++
  faults.push(error instanceof CommandFailed ? error.message : error.stack)
}
console.log(['', ...faults].join('\n'))
console.log(`${total.passed} passed, ${total.failed} failed`)
process.exitCode = total.failed === 0 ? 0 : 1
