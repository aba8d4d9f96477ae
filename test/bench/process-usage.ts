import { readdir, readFile } from 'node:fs/promises'
import { codeOf } from '../../src/base/errors.ts'

/** The threads of a Node process, by what they do for us. */
const THREAD_KINDS = ['main', 'delivery', 'files', 'other'] as const
export type ThreadKind = (typeof THREAD_KINDS)[number]

/** CPU time in microseconds. */
export type CpuMicros = Readonly<Record<ThreadKind | 'all', number>>

/** The kernel counts in ticks of 10 ms, whatever its own clock is (USER_HZ). */
const MICROS_PER_TICK = 10_000

/** The CPU time that a process has used up to now, by its threads. */
export async function cpuMicros(pid: number): Promise<CpuMicros> {
  const micros = { main: 0, delivery: 0, files: 0, other: 0, all: 0 }
  micros.all = ticksOf(await readFile(`/proc/${pid}/stat`, 'utf8')).ticks * MICROS_PER_TICK
  for (const id of await readdir(`/proc/${pid}/task`)) {
    let stat: string
    try {
      stat = await readFile(`/proc/${pid}/task/${id}/stat`, 'utf8')
    } catch (error) {
      // Ended since it was listed; its time is in the total.
      if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') continue
      throw error
    }
    const { name, ticks } = ticksOf(stat)
    const kind = Number(id) === pid ? 'main' : kindOf(name)
    micros[kind] += ticks * MICROS_PER_TICK
  }
  return micros
}

/** What was used between two moments, per message. */
export function cpuPerMessage(before: CpuMicros, after: CpuMicros, messages: number): CpuMicros {
  const per = (kind: ThreadKind | 'all'): number => Math.round(((after[kind] - before[kind]) / messages) * 100) / 100
  return { main: per('main'), delivery: per('delivery'), files: per('files'), other: per('other'), all: per('all') }
}

/** Resident memory in MiB: now, and at its highest since the process began. */
export async function residentMiB(pid: number): Promise<{ now: number; peak: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const mebibytes = (field: string): number => {
    const match = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)
    if (!match) throw new Error(`/proc/${pid}/status says nothing of ${field}`)
    return Math.round(Number(match[1]) / 102.4) / 10
  }
  return { now: mebibytes('VmRSS'), peak: mebibytes('VmHWM') }
}

/** `pid (name) state ppid …`, where utime and stime are the 14th and 15th field; the name may hold anything. */
function ticksOf(stat: string): { name: string; ticks: number } {
  const nameEnd = stat.lastIndexOf(')')
  const fields = stat.slice(nameEnd + 2).split(' ')
  return { name: stat.slice(stat.indexOf('(') + 1, nameEnd), ticks: Number(fields[11]) + Number(fields[12]) }
}

function kindOf(threadName: string): ThreadKind {
  if (threadName.startsWith('delivery')) return 'delivery'
  return threadName.startsWith('libuv') ? 'files' : 'other'
}
