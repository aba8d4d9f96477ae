import { expect, test, vi } from 'vitest'
import { systemClock } from '../src/base/clock.ts'
import { LogOutput } from '../src/base/log-output.ts'
import type { Config } from '../src/config/schema.ts'
import type { DeliveryStart } from '../src/delivery.ts'
import type { ReserveHandle } from '../src/journal/disk-reserve.ts'
import { RecordingThread } from '../src/recording-thread.ts'

const reason = "the recording thread has ended: Cannot read properties of null (reading 'once')"

function recording(id = 'a') {
  const told: string[] = []
  const output = new LogOutput({ kind: 'immediate', write: (bytes) => bytes.length }, systemClock, () => {})
  const thread = new RecordingThread(
    new URL('recording-entry.ts', import.meta.url),
    {} as Config,
    { id, directory: '', firstSeq: 1, end: new SharedArrayBuffer(24) },
    {} as DeliveryStart,
    {} as ReserveHandle,
    {
      moved: ({ recorder, seq, mark }) => told.push(`${recorder} at ${seq}, ${mark}`),
      restarting: (error) => told.push((error as Error).message),
    },
    systemClock,
    output,
  )
  return { thread, told }
}

test('a recording thread that fails begins anew, and whoever asked meanwhile may ask again', async () => {
  const { thread, told } = recording()
  await thread.started()
  expect(await thread.find({ journalId: 'a', seq: 12 })).toBeNull()
  for (const _ of [1, 2]) {
    await expect(thread.find({ journalId: 'a', seq: 13 })).rejects.toMatchObject({ code: 'ledger_unavailable' })
    expect(await thread.status(0)).toEqual({ failure: reason, recorders: [] })
    await thread.ping()
    await vi.waitFor(async () => expect((await thread.status(0)).failure).toBeNull(), 10_000)
    expect(await thread.find({ journalId: 'a', seq: 12 })).toBeNull()
  }
  const start = 'log at 7, 3'
  expect(told).toEqual([start, reason, start, reason, start])
  await thread.close()
})

test('one that fails is closed at once, and does not begin anew', async () => {
  const { thread, told } = recording()
  await thread.started()
  await expect(thread.find({ journalId: 'a', seq: 13 })).rejects.toMatchObject({ code: 'ledger_unavailable' })
  await thread.close()
  await new Promise((resolve) => setTimeout(resolve, 1500))
  expect(told.filter((line) => line.startsWith('log'))).toHaveLength(1)
})

test('one that can not start for the first time says why', async () => {
  const { thread } = recording('broken')
  await expect(thread.started()).rejects.toThrow('the recording thread has ended: it can not start')
  await thread.close()
})
