/**
 * Debian's packages that the tests need: installed when we may, and told plainly when we may not. A test that needs a
 * new one adds a line to NEEDED; nothing else changes. Uses nothing but Node.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { CommandFailed, run } from './run.mjs'

/** The package, what shows it is there (a command, or a command line that succeeds), and what for. */
const NEEDED = [
  { package: 'chromium', command: 'chromium', why: 'the tests in test/browser' },
  { package: 'mount', command: 'mount', why: 'the test of a full disk' },
  { package: 'coturn', command: 'turnserver', why: 'the tests of STUN and TURN' },
  { package: 'iproute2', command: 'ip', why: 'the tests in test/network' },
  { package: 'nftables', command: 'nft', why: 'the tests in test/network' },
  { package: 'python3-venv', succeeds: ['python3', '-c', 'import ensurepip'], why: 'the tests in test/probe' },
]

/** Where Debian's packages ask whether they may start what they install (policy-rc.d(8)). */
const START_POLICY = '/usr/sbin/policy-rc.d'

export async function installSystemPackages() {
  const missing = NEEDED.filter((need) => !isThere(need))
  if (missing.length === 0) return
  const names = missing.map((need) => need.package)
  const byHand = `Install them by hand: apt-get install ${names.join(' ')}`
  const list = missing.map((need) => `  ${need.package}: for ${need.why}`).join('\n')
  if (process.getuid?.() !== 0 || !isCommand('apt-get')) {
    throw new CommandFailed(
      `These programs are missing, and only root on Debian can install them here:\n${list}\n${byHand}`,
    )
  }
  console.log(`Installing Debian packages: ${names.join(' ')}`)
  const options = { env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }
  try {
    await run('apt-get', ['update', '--quiet=2'], options)
    await startingNothing(() =>
      run('apt-get', ['install', '--yes', '--quiet=2', '--no-install-recommends', ...names], options),
    )
  } catch (error) {
    throw new CommandFailed(`These programs could not be installed (${error.message}):\n${list}\n${byHand}`)
  }
}

/** The tests start their own coturn: the machine's is not to listen from now on. */
async function startingNothing(install) {
  if (existsSync(START_POLICY)) return install()
  writeFileSync(START_POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    await install()
  } finally {
    rmSync(START_POLICY)
  }
}

function isThere({ command, succeeds: [program, ...args] = [] }) {
  return command === undefined ? spawnSync(program, args, { stdio: 'ignore' }).status === 0 : isCommand(command)
}

/** A daemon's command is in /usr/sbin, which is not on everybody's path. */
function isCommand(name) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']
  return folders.some((folder) => {
    try {
      accessSync(join(folder, name), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
