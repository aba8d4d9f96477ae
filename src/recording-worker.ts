import type { Clock } from './base/clock.ts'
import type { Log } from './base/log.ts'
import { concealSecrets } from './base/secret.ts'
import type { Config } from './config/schema.ts'
import type { Disk } from './journal/disk.ts'
import { ReserveDisk } from './journal/reserve-disk.ts'
import type { RecordingCalls, RecordingWorkerData } from './recording-thread.ts'
import { Recording } from './recording.ts'
import { servePart } from './worker-thread.ts'

/** The inside of the recording thread. Resolves when it was told to close; rejects when recording can't start, or can't go on. */
export async function runRecording(data: RecordingWorkerData, disk: Disk, clock: Clock, log: Log): Promise<void> {
  const config = concealSecrets<Config>(data.config)
  const ownDisk = new ReserveDisk(disk, data.reserve, 'everything')
  const starting = Recording.start(config, data.journal, data.delivery, ownDisk, clock, log, (position) =>
    data.events.postMessage(position),
  )
  await servePart<Recording, RecordingCalls>(data, starting, {
    started: async () => (await starting).positions,
    status: async () => (await starting).status(),
    giveUpBelow: async (request) => (await starting).giveUpBelow(request),
    find: async ({ journalId, seq }) => (await starting).find(journalId, seq),
    // A buffer arrives from another thread as a plain array of bytes.
    list: async ({ key, ...query }) => (await starting).list(key ? { ...query, key: Buffer.from(key) } : query),
    content: async ({ journalId, seq }) => (await starting).content(journalId, seq),
    exceptions: async ({ store, after, limit }) => (await starting).exceptions(store, after, limit),
    drain: async (deadlineMs) => (await starting).drain(AbortSignal.timeout(deadlineMs)),
  })
}
