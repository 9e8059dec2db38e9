/**
 * The Python that test/probe runs in: a virtual environment in .venv with the packages of test/probe/requirements.txt,
 * made anew when that file changes. Uses nothing but Node.
 */
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fingerprint, isFresh, markFresh } from './fresh.mjs'
import { root, run } from './run.mjs'

const FOLDER = join(root, '.venv')
const REQUIREMENTS = 'test/probe/requirements.txt'

export async function installPython() {
  const print = fingerprint([REQUIREMENTS])
  const python = join(FOLDER, 'bin/python')
  // The link may point to a Python that is no longer there.
  if (existsSync(python) && isFresh('.venv', print)) return
  console.log('Installing Python packages (.venv)')
  rmSync(FOLDER, { recursive: true, force: true })
  await run('python3', ['-m', 'venv', FOLDER])
  // Ready binaries only, so that no compiler is needed.
  const options = ['--quiet', '--disable-pip-version-check', '--only-binary=:all:']
  await run(python, ['-m', 'pip', 'install', ...options, '--requirement', REQUIREMENTS])
  markFresh('.venv', print)
}
