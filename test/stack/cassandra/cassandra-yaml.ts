/** When a write is acknowledged: after its sync to disk, or before the next periodic one. */
export type CommitLogSync = 'batch' | 'periodic'

export interface CassandraYamlOptions {
  readonly port: number
  /** For other nodes; there are none, but Cassandra listens on it. */
  readonly storagePort: number
  readonly bindHost: string
  readonly dataDirectory: string
  readonly caFile: string
  readonly serverKeystoreFile: string
  readonly passwords: boolean
  readonly commitLogSync: CommitLogSync
}

/** The configuration of a single small node: one token, no neighbours, plain and TLS connections on one port. */
export function cassandraYaml(options: CassandraYamlOptions): string {
  const { dataDirectory: data } = options
  const commitLogSync =
    options.commitLogSync === 'batch'
      ? 'commitlog_sync: batch'
      : 'commitlog_sync: periodic\ncommitlog_sync_period: 10000ms'
  const prefix = options.passwords ? 'Password' : 'AllowAll'
  return `cluster_name: outrigger-test
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
num_tokens: 1
initial_token: 0
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{ seeds: "127.0.0.1:${options.storagePort}" }]
listen_address: 127.0.0.1
storage_port: ${options.storagePort}
rpc_address: ${options.bindHost}
broadcast_rpc_address: 127.0.0.1
start_native_transport: true
native_transport_port: ${options.port}
data_file_directories: [${JSON.stringify(`${data}/data`)}]
commitlog_directory: ${JSON.stringify(`${data}/commitlog`)}
saved_caches_directory: ${JSON.stringify(`${data}/saved_caches`)}
hints_directory: ${JSON.stringify(`${data}/hints`)}
cdc_raw_directory: ${JSON.stringify(`${data}/cdc_raw`)}
${commitLogSync}
commitlog_segment_size: 4MiB
commitlog_total_space: 64MiB
memtable_heap_space: 64MiB
memtable_allocation_type: heap_buffers
key_cache_size: 8MiB
file_cache_size: 32MiB
networking_cache_size: 16MiB
concurrent_reads: 4
concurrent_writes: 4
concurrent_compactors: 1
auto_snapshot: false
hinted_handoff_enabled: false
authenticator: ${prefix}Authenticator
authorizer: ${options.passwords ? 'CassandraAuthorizer' : 'AllowAllAuthorizer'}
role_manager: CassandraRoleManager
client_encryption_options:
  enabled: true
  optional: true
  require_client_auth: true
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: ${JSON.stringify(options.serverKeystoreFile)}
  truststore: ${JSON.stringify(options.caFile)}
`
}
