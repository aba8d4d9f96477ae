import { setTimeout as sleep } from 'node:timers/promises'
import type { KafkaSide } from './kafka-side.ts'
import type { Parameters } from './parameters.ts'
import { residentMiB } from './process-usage.ts'
import { Subject } from './subject.ts'
import type { Workbench } from './workbench.ts'

/** Resident memory in MiB some seconds after a fresh start, with nothing to do. */
export interface IdleResult {
  readonly broker: 'kafka' | 'embedded'
  readonly seconds: number
  readonly residentMiB: number
  readonly startMs: number
}

/** (d) What it takes to have it standing there. The CPU time is counted in (a), (b) and (c). */
export async function measureIdle(
  bench: Workbench,
  kafka: KafkaSide,
  { idleSeconds }: Parameters,
  say: (line: string) => void,
): Promise<IdleResult[]> {
  const brokers = ['kafka', 'embedded'] as const
  const subjects = brokers.map((broker) => new Subject(bench, { broker, brokers: kafka.brokers }))
  const results: IdleResult[] = []
  for (const [index, subject] of subjects.entries()) {
    const startMs = Math.round(await subject.start())
    await sleep(idleSeconds * 1000)
    const { now } = await residentMiB(subject.pid)
    await subject.kill()
    const broker = brokers[index] as (typeof brokers)[number]
    results.push({ broker, seconds: idleSeconds, residentMiB: now, startMs })
    say(`idle with broker ${broker} for ${idleSeconds} s: ${now} MiB resident; ready after ${startMs} ms`)
  }
  return results
}
