import type { Clock } from './base/clock.ts'
import type { Log } from './base/log.ts'
import { concealSecrets } from './base/secret.ts'
import type { Config } from './config/schema.ts'
import type { DeliveryCalls, DeliveryWorkerData } from './delivery-thread.ts'
import { Delivery } from './delivery.ts'
import type { Disk } from './journal/disk.ts'
import { ReserveDisk } from './journal/reserve-disk.ts'
import { servePart } from './worker-thread.ts'

/** The inside of the delivering thread. Resolves when it was told to close; rejects when delivering can't start, or can't go on. */
export async function runDelivery(data: DeliveryWorkerData, disk: Disk, clock: Clock, log: Log): Promise<void> {
  const config = concealSecrets<Config>(data.config)
  const ownDisk = new ReserveDisk(disk, data.reserve, 'everything')
  const starting = Delivery.start(config, data.journal, data.receiptReaders, ownDisk, clock, log, (seq) =>
    data.events.postMessage(seq),
  )
  await servePart<Delivery, DeliveryCalls>(data, starting, {
    started: async () => (await starting).startedWith,
    find: async (seq) => (await starting).find(seq),
    status: async () => (await starting).status(),
    counts: async () => (await starting).counts,
    deadLetters: async (query) => (await starting).deadLetters(query),
    giveUpBelow: async (seq) => (await starting).giveUpBelow(seq),
    holdReceipts: async (hold) => (await starting).holdReceipts(hold),
    progress: async () => (await starting).progress(),
    measure: async (query) => (await starting).measure(query),
    drain: async (deadlineMs) => (await starting).drain(AbortSignal.timeout(deadlineMs)),
  })
}
