import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { codeOf, messageOf } from '../../src/base/errors.ts'
import { findCommand, run, tryRun } from './command.ts'
import { cachedFolder, contentHash } from './download-cache.ts'
import { installDebianPackages } from './debian-packages.ts'
import { StackUnavailableError } from './errors.ts'

export interface Java {
  readonly command: string
  /** 17, 21, … */
  readonly version: number
}

export interface JavaRange {
  readonly from: number
  readonly to: number
}

/** A Java of a version in the range, the lowest there is; installed when there is none and we may. */
export async function requireJava(range: JavaRange): Promise<Java> {
  const found = await findJava(range)
  if (found !== null) return found
  await installDebianPackages(`Java ${range.from}`, [`openjdk-${range.from}-jre-headless`], ['default-jre-headless'])
  const installed = await findJava(range)
  if (installed !== null) return installed
  throw new StackUnavailableError(`no Java between ${range.from} and ${range.to} can be had`, {
    hint: 'Point JAVA_HOME to one.',
  })
}

/** The jars that a POM's dependencies come down to, in a folder of the download cache. */
export async function mavenLibraries(name: string, pomFile: string): Promise<string> {
  return cachedFolder(`${name}-${await contentHash(pomFile)}`, async (directory) => {
    if ((await findCommand('mvn')) === null) await installDebianPackages('Maven', ['maven'])
    const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${directory}`]
    try {
      await run('mvn', ['-B', '-q', '-f', pomFile, ...goal])
    } catch (error) {
      throw new StackUnavailableError(`the jars of ${name} can't be downloaded: ${messageOf(error)}`, { cause: error })
    }
  })
}

async function findJava(range: JavaRange): Promise<Java | null> {
  const candidates = ['java']
  const home = process.env['JAVA_HOME']
  if (home) candidates.unshift(join(home, 'bin', 'java'))
  for (const folder of ['/usr/lib/jvm', '/Library/Java/JavaVirtualMachines']) {
    for (const entry of await listed(folder)) {
      candidates.push(join(folder, entry, 'bin', 'java'), join(folder, entry, 'Contents', 'Home', 'bin', 'java'))
    }
  }
  const fitting: Java[] = []
  for (const command of candidates) {
    const answer = await tryRun(command, ['-version'], { timeoutMs: 30_000 })
    const version = Number(/version "(\d+)/.exec(answer?.stderr ?? '')?.[1])
    if (version === range.from) return { command, version }
    if (version > range.from && version <= range.to) fitting.push({ command, version })
  }
  return fitting.toSorted((a, b) => a.version - b.version)[0] ?? null
}

async function listed(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return []
    throw error
  }
}
