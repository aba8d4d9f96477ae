import { codeOf, messageOf } from '../base/errors.ts'
import type { StoreFailure } from '../recorder/store-error.ts'
import { StoreError } from '../recorder/store-error.ts'

/** What one error code means for us. */
export interface MysqlFailure {
  readonly failure: StoreFailure
  /** What a person can do about it. */
  readonly hint: string
  /** The connection is of no more use, although it may still stand. */
  readonly hangUp: boolean
}

const is = (failure: StoreFailure, hint: string, hangUp = false): MysqlFailure => ({ failure, hint, hangUp })

const unreachable = is('transient', 'Check mysql.url, the network, and whether the server runs.')
const resolving = is('transient', 'Check the host name in mysql.url.')
const ending = is('transient', 'The server is ending or restarting; recording goes on when it is back.', true)
const busy = is('transient', 'The server is overloaded; when this lasts, look for locks and slow queries on it.')
const tooMany = is(
  'transient',
  'Raise max_connections or the limit of the user, or lower mysql.connectionsMax of the sidecars.',
)
// A pooled connection would stick to the server that was the primary before a failover.
const readOnly = is('transient', 'The server takes no writes; mysql.url must lead to the primary.', true)
const storage = is('transient', "Check the server's disk and its error log.")
const network = is('transient', '', true)
const refusedValue = is('permanent', 'The server refuses a value of this row for good.')

const grants =
  'GRANT SELECT, INSERT, UPDATE, CREATE, ALTER, DROP, INDEX ON `DATABASE`.* TO `USER`@`HOST` on the server.'
// A server that wants TLS of us may say no more than this, either.
const credentials = is(
  'fatal',
  `Check the user in mysql.url, mysql.passwordFile, whether the user may connect from here, and whether it must use TLS (mysql.tls). It needs: ${grants}`,
)
const privileges = is('fatal', grants)
const account = is('fatal', "Look after the user's account on the server: it is locked, or its password has expired.")
const schema = is('fatal', 'Run `outrigger migrate`, or set ledger.migrate: true.')
const unsupported = is('fatal', 'Outrigger needs MySQL 8 or newer, or MariaDB 10.6 or newer.')
const verification = is(
  'fatal',
  "Check mysql.tls (ca, cert, key, serverName), and the server's certificate: it must be valid for the host in mysql.url.",
)

/** Every error that is known to come, by the server's or the driver's name for it. */
export const mysqlFailures: Readonly<Record<string, MysqlFailure>> = {
  // The way to the server.
  ECONNREFUSED: unreachable,
  ECONNRESET: network,
  ECONNABORTED: network,
  EPIPE: network,
  ETIMEDOUT: unreachable,
  EHOSTUNREACH: unreachable,
  EHOSTDOWN: unreachable,
  ENETUNREACH: unreachable,
  ENETDOWN: unreachable,
  ENETRESET: network,
  EADDRNOTAVAIL: unreachable,
  ENOTFOUND: resolving,
  EAI_AGAIN: resolving,
  EAI_FAIL: resolving,
  EAI_NODATA: resolving,
  EAI_NONAME: resolving,
  EMFILE: is('transient', 'Allow the process more open files (ulimit -n).'),
  ENFILE: is('transient', 'The machine has no open files left.'),
  ENOBUFS: is('transient', 'The machine is out of memory for sockets.'),
  ENOMEM: is('transient', 'The machine is out of memory.'),
  PROTOCOL_CONNECTION_LOST: network,
  PROTOCOL_ERROR: network,
  PROTOCOL_UNEXPECTED_PACKET: network,
  CONNECTION_CLOSED: network,
  CLOSED: network,
  POOL_EXHAUSTED: is('transient', 'Raise mysql.connectionsMax, or ask for less at a time.'),
  HANDSHAKE_UNKNOWN_ERROR: is('transient', 'Check that the address in mysql.url is that of a MySQL server.', true),
  QUERY_TIMEOUT: is('transient', 'The server did not answer in time; it may be overloaded or hang.', true),
  ER_NET_READ_ERROR: network,
  ER_NET_READ_INTERRUPTED: network,
  ER_NET_ERROR_ON_WRITE: network,
  ER_NET_WRITE_INTERRUPTED: network,
  ER_NET_PACKETS_OUT_OF_ORDER: network,
  ER_NEW_ABORTING_CONNECTION: network,
  ER_CLIENT_INTERACTION_TIMEOUT: network,

  // The server has trouble, or no time for us.
  ER_CON_COUNT_ERROR: tooMany,
  ER_TOO_MANY_USER_CONNECTIONS: tooMany,
  ER_USER_LIMIT_REACHED: tooMany,
  ER_LOCK_WAIT_TIMEOUT: busy,
  ER_LOCK_DEADLOCK: busy,
  ER_LOCK_NOWAIT: busy,
  ER_LOCK_TABLE_FULL: busy,
  ER_USER_LOCK_DEADLOCK: busy,
  LOCK_FAILED: busy,
  ER_TOO_MANY_CONCURRENT_TRXS: busy,
  ER_TABLE_DEF_CHANGED: busy,
  ER_QUERY_TIMEOUT: busy,
  // MariaDB's ER_STATEMENT_TIMEOUT.
  ER_1969: busy,
  ER_QUERY_INTERRUPTED: busy,
  ER_OUTOFMEMORY: busy,
  ER_OUT_OF_SORTMEMORY: busy,
  ER_OUT_OF_RESOURCES: busy,
  ER_SERVER_SHUTDOWN: ending,
  ER_NORMAL_SHUTDOWN: ending,
  ER_SHUTDOWN_COMPLETE: ending,
  ER_SESSION_WAS_KILLED: ending,
  // MariaDB's ER_CONNECTION_KILLED.
  ER_1927: ending,
  ER_SERVER_OFFLINE_MODE: ending,
  ER_OPTION_PREVENTS_STATEMENT: readOnly,
  ER_READ_ONLY_MODE: readOnly,
  ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION: readOnly,
  ER_OPEN_AS_READONLY: readOnly,
  ER_DISK_FULL: storage,
  ER_RECORD_FILE_FULL: storage,
  ER_GET_ERRNO: storage,
  ER_ERROR_ON_WRITE: storage,
  ER_CANT_LOCK: storage,
  ER_CANT_OPEN_FILE: storage,
  ER_ERROR_DURING_COMMIT: is('transient', 'The cluster could not agree on this write; it is tried again.'),
  ER_RUN_HOOK_ERROR: is('transient', 'The group of servers could not agree on this write; it is tried again.'),
  ER_TRANSACTION_ROLLBACK_DURING_COMMIT: is('transient', 'The group of servers took another write first.'),
  // How a node of a Galera cluster says that it is not ready.
  ER_UNKNOWN_COM_ERROR: is('transient', 'The node is not part of its cluster now.', true),

  // A row that can't be.
  ER_DATA_TOO_LONG: refusedValue,
  ER_WARN_DATA_OUT_OF_RANGE: refusedValue,
  WARN_DATA_TRUNCATED: refusedValue,
  ER_TRUNCATED_WRONG_VALUE: refusedValue,
  ER_TRUNCATED_WRONG_VALUE_FOR_FIELD: refusedValue,
  ER_INVALID_CHARACTER_STRING: refusedValue,
  ER_BAD_NULL_ERROR: refusedValue,
  ER_CHECK_CONSTRAINT_VIOLATED: is('permanent', 'Somebody added a constraint to the table; this row breaks it.'),
  ER_TOO_BIG_ROWSIZE: refusedValue,
  ER_NET_PACKET_TOO_LARGE: is('permanent', 'Raise max_allowed_packet on the server.', true),

  // The server refuses us, or is not what we need.
  ER_ACCESS_DENIED_ERROR: credentials,
  ER_ACCESS_DENIED_NO_PASSWORD_ERROR: credentials,
  ER_HOST_NOT_PRIVILEGED: credentials,
  ER_HOST_IS_BLOCKED: is('fatal', 'The server blocks this host after too many failed connections: FLUSH HOSTS there.'),
  ER_DBACCESS_DENIED_ERROR: is('fatal', `The database does not exist, or is not ours: CREATE DATABASE, and ${grants}`),
  ER_BAD_DB_ERROR: is('fatal', `Outrigger makes no databases: CREATE DATABASE, and ${grants}`),
  ER_TABLEACCESS_DENIED_ERROR: privileges,
  ER_COLUMNACCESS_DENIED_ERROR: privileges,
  ER_SPECIFIC_ACCESS_DENIED_ERROR: privileges,
  ER_ACCOUNT_HAS_BEEN_LOCKED: account,
  ER_MUST_CHANGE_PASSWORD: account,
  ER_MUST_CHANGE_PASSWORD_LOGIN: account,
  ER_NOT_SUPPORTED_AUTH_MODE: is('fatal', 'Give the user caching_sha2_password or mysql_native_password.'),
  AUTH_SWITCH_PLUGIN_ERROR: is('fatal', 'Give the user caching_sha2_password or mysql_native_password.'),
  ER_SECURE_TRANSPORT_REQUIRED: is('fatal', 'The server wants TLS: set mysql.tls.'),
  HANDSHAKE_NO_SSL_SUPPORT: is('fatal', 'The server has no TLS: set it up there, or take mysql.tls away.'),
  HANDSHAKE_SSL_ERROR: verification,
  PASSWORD_UNREADABLE: is('fatal', 'Check mysql.passwordFile.'),
  ER_NO_SUCH_TABLE: schema,
  ER_BAD_FIELD_ERROR: schema,
  ER_KEY_DOES_NOT_EXITS: schema,
  ER_PARTITION_MGMT_ON_NONPARTITIONED: schema,
  ER_NO_PARTITION_FOR_GIVEN_VALUE: is('fatal', 'The last partition of message_metadata must be VALUES LESS THAN MAXVALUE.'), // prettier-ignore
  ER_TOO_MANY_PARTITIONS_ERROR: is('fatal', 'Shorten ledger.retention: a table has a partition for each day of it.'),
  ER_PARSE_ERROR: unsupported,
  ER_UNKNOWN_SYSTEM_VARIABLE: unsupported,
  ER_NOT_SUPPORTED_YET: unsupported,
}

/** What is not in the table is told by the class of its SQLSTATE. */
const classes: Readonly<Record<string, MysqlFailure>> = {
  '08': network,
  '22': refusedValue,
  '23': refusedValue,
  '28': credentials,
  '40': busy,
  '42': is('fatal', 'The server refuses the statement; the schema may be another than ours.'),
}

const strange = is('transient', "Look into the server's error log.")

function mysqlFailureOf(reason: string, sqlState: string): MysqlFailure {
  return mysqlFailures[reason] ?? classes[sqlState.slice(0, 2)] ?? strange
}

/** An error of ours in the manner of the table. */
export function mysqlError(reason: string, message: string, cause?: unknown): StoreError {
  const { failure, hint } = mysqlFailureOf(reason, '')
  return new StoreError(failure, reason, message, { cause, hint })
}

/**
 * Translates whatever mysql2 threw while it talked to the server at `address`. What is neither the server's nor the
 * network's is a bug of ours, and stays as it is.
 */
export function mysqlStoreError(error: unknown, address: string): { error: unknown; hangUp: boolean } {
  if (error instanceof StoreError || !(error instanceof Error)) return { error, hangUp: true }
  const reason = reasonOf(error)
  if (reason === undefined) return { error, hangUp: true }
  const { failure, hint, hangUp } = mysqlFailureOf(reason, textOf(error, 'sqlState'))
  // The statement holds keys and headers of messages, the certificate pages of bytes: neither belongs into a log.
  for (const field of ['sql', 'cert']) Reflect.deleteProperty(error, field)
  const message = `MySQL at ${address}: ${messageOf(error) || reason}`
  const fatal = 'fatal' in error && error.fatal === true
  return { error: new StoreError(failure, reason, message, { cause: error, hint }), hangUp: hangUp || fatal }
}

function reasonOf(error: Error): string | undefined {
  const code = codeOf(error)
  if (code === 'HANDSHAKE_SSL_ERROR' && isCutShort(error)) return 'ECONNRESET'
  if (code !== undefined && (code in mysqlFailures || 'errno' in error || 'fatal' in error)) return code
  // Errors that MariaDB alone has come without a name.
  if ('errno' in error && typeof error.errno === 'number') return `ER_${error.errno}`
  // "Can't add new command when connection is in closed state", which has no code.
  return 'fatal' in error ? 'CONNECTION_CLOSED' : undefined
}

/** mysql2 gives every failure of a TLS handshake one code, also when the server was merely killed amid it. */
function isCutShort(error: Error): boolean {
  return 'syscall' in error || /before secure TLS connection was established|socket hang up/.test(error.message)
}

function textOf(error: object, field: string): string {
  const value: unknown = Reflect.get(error, field)
  return typeof value === 'string' ? value : ''
}
