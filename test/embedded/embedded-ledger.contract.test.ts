import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/base/clock.ts'
import { silentLog } from '../../src/base/log.ts'
import { EmbeddedMessageLog } from '../../src/embedded/embedded-message-log.ts'
import { EmbeddedMetadataStore } from '../../src/embedded/embedded-metadata-store.ts'
import { describeMessageLogContract } from '../recorder/message-log-contract.ts'
import { contractRetentionMs, describeMetadataStoreContract } from '../recorder/metadata-store-contract.ts'

describeMetadataStoreContract('the embedded store', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'outrigger-ledger-'))
  const options = { file: join(directory, 'ledger.sqlite'), retentionMs: contractRetentionMs }
  const another = () => new EmbeddedMetadataStore(systemClock, silentLog, options)
  const store = another()
  return {
    store,
    another,
    close: async () => {
      await store.close()
      await rm(directory, { recursive: true })
    },
  }
})

describeMessageLogContract('the embedded log', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'outrigger-ledger-'))
  const options = { file: join(directory, 'ledger.sqlite'), retentionMs: contractRetentionMs }
  const another = () => new EmbeddedMessageLog(systemClock, silentLog, options)
  const log = another()
  return {
    log,
    another,
    close: async () => {
      await log.close()
      await rm(directory, { recursive: true })
    },
  }
})
