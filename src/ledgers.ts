import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from './base/clock.ts'
import type { Log } from './base/log.ts'
import { Secret } from './base/secret.ts'
import type { Config } from './config/schema.ts'
import type { MessageLog } from './recorder/message-log.ts'
import type { MetadataStore } from './recorder/metadata-store.ts'

/** The one place that chooses the stores of the ledger by the configuration. Each is loaded only when it is needed, drivers included. */

/** Where metadata is kept, or null when it is not. */
export async function openMetadataStore(config: Config, clock: Clock, log: Log): Promise<MetadataStore | null> {
  const { retention } = config.ledger
  switch (config.ledger.metadata) {
    case 'mysql': {
      const [{ MysqlMetadataStore }, { parseMysqlUrl }] = await Promise.all([
        import('./mysql/mysql-metadata-store.ts'),
        import('./mysql/mysql-options.ts'),
      ])
      const { url, password, passwordFile, tls, connectionsMax, connectTimeout, rowsPerSecondMax } = config.mysql
      return new MysqlMetadataStore(clock, log, {
        ...parseMysqlUrl(url),
        password: passwordSource(password, passwordFile),
        connectionsMax,
        connectTimeout,
        retention,
        ...(tls && { tls }),
        ...(rowsPerSecondMax !== undefined && { rowsPerSecondMax }),
      })
    }
    case 'embedded': {
      const { EmbeddedMetadataStore } = await import('./embedded/embedded-metadata-store.ts')
      return new EmbeddedMetadataStore(clock, log, { file: embeddedFile(config), retentionMs: retention })
    }
    case 'none':
      return null
  }
}

/** Where the messages themselves are kept, or null when they are not. */
export async function openMessageLog(config: Config, clock: Clock, log: Log): Promise<MessageLog | null> {
  const { retention } = config.ledger
  switch (config.ledger.log) {
    case 'cassandra': {
      const { CassandraMessageLog } = await import('./cassandra/cassandra-message-log.ts')
      const { password, passwordFile, ...options } = config.cassandra
      return new CassandraMessageLog(clock, log, {
        ...options,
        password: passwordSource(password, passwordFile),
        retention,
      })
    }
    case 'embedded': {
      const { EmbeddedMessageLog } = await import('./embedded/embedded-message-log.ts')
      return new EmbeddedMessageLog(clock, log, { file: embeddedFile(config), retentionMs: retention })
    }
    case 'none':
      return null
  }
}

/** Asked at each new connection, so that a password that was changed in its file is used at once. */
function passwordSource(password: Secret | undefined, file: string | undefined): () => Promise<Secret | undefined> {
  if (file === undefined) return () => Promise.resolve(password)
  return async () => new Secret((await readFile(file, 'utf8')).replace(/[\r\n]+$/, ''))
}

function embeddedFile(config: Config): string {
  return join(config.journal.directory, 'ledger.sqlite')
}
