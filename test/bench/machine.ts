import { open, readFile, realpath, rm, statfs } from 'node:fs/promises'
import { cpus, loadavg, release, totalmem } from 'node:os'
import { join } from 'node:path'
import packageJson from '../../package.json' with { type: 'json' }
import kafkajsPackage from 'kafkajs/package.json' with { type: 'json' }
import { tryRun } from '../stack/command.ts'
import { median } from './statistics.ts'
import { WRK_MISSING, wrkVersion } from './wrk.ts'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryMiB: number
  readonly kernel: string
  /** Where the journal was. */
  readonly fileSystem: string
  /** To write 4 KiB at a file's end and have them on stable storage (fdatasync), in milliseconds. */
  readonly syncMs: { readonly p50: number; readonly p99: number }
  /** Of the last minute, before the run. More than a little says that others used the machine too. */
  readonly loadBefore: number
}

export interface Versions {
  readonly outrigger: string
  readonly commit: string | null
  readonly node: string
  readonly kafka: string
  readonly kafkajs: string
  readonly wrk: string | null
}

/** What the figures depend on. `directory` is where the journal will be. */
export async function describeMachine(directory: string): Promise<Machine> {
  const found = cpus()
  const cpuinfo = await readFile('/proc/cpuinfo', 'utf8')
  const model = /^model name\s*:\s*(.+)$/m.exec(cpuinfo)?.[1] ?? found[0]?.model ?? 'unknown'
  return {
    cpu: model.trim(),
    cores: found.length,
    memoryMiB: Math.round(totalmem() / 1024 / 1024),
    kernel: release(),
    fileSystem: await fileSystemOf(directory),
    syncMs: await measureSync(join(directory, 'sync')),
    loadBefore: Math.round((loadavg()[0] ?? 0) * 10) / 10,
  }
}

export async function describeVersions(wrk: string | typeof WRK_MISSING): Promise<Versions> {
  const described = await tryRun('git', ['describe', '--always', '--dirty'], { cwd: import.meta.dirname })
  const pom = await readFile(new URL('../stack/kafka/pom.xml', import.meta.url), 'utf8')
  return {
    outrigger: packageJson.version,
    commit: described?.stdout.trim() ?? null,
    node: process.versions.node,
    kafka: /<artifactId>kafka_[\d.]+<\/artifactId>\s*<version>([^<]+)</.exec(pom)?.[1] ?? 'unknown',
    kafkajs: kafkajsPackage.version,
    wrk: wrk === WRK_MISSING ? null : await wrkVersion(wrk),
  }
}

export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

/** Its type, of the mount with the longest path that leads to the directory. */
async function fileSystemOf(directory: string): Promise<string> {
  const path = `${await realpath(directory)}/`
  let found = { point: '', type: 'unknown' }
  for (const line of (await readFile('/proc/self/mounts', 'utf8')).split('\n')) {
    const [, point = '', type = ''] = line.split(' ')
    const prefix = point.endsWith('/') ? point : `${point}/`
    if (point !== '' && path.startsWith(prefix) && prefix.length > found.point.length) found = { point: prefix, type }
  }
  return found.type
}

/** What every answer waits for at least. */
async function measureSync(file: string): Promise<{ p50: number; p99: number }> {
  const times: number[] = []
  const block = Buffer.alloc(4096, 1)
  await using handle = await open(file, 'wx')
  // The journal's segments exist in full before they are written; so does this file.
  const count = 200
  await handle.write(Buffer.alloc(block.length * count), 0, block.length * count, 0)
  await handle.sync()
  for (let index = 0; index < count; index++) {
    const begunAt = performance.now()
    await handle.write(block, 0, block.length, index * block.length)
    await handle.datasync()
    times.push(performance.now() - begunAt)
  }
  await rm(file)
  const sorted = times.toSorted((a, b) => a - b)
  const rounded = (ms: number): number => Math.round(ms * 1000) / 1000
  return { p50: rounded(median(sorted)), p99: rounded(sorted[Math.floor(count * 0.99)] ?? 0) }
}
