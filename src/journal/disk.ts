/** How much room a file system has, in bytes. */
export interface DiskSpace {
  /** What this process may still write. */
  readonly freeBytes: number
  readonly totalBytes: number
}

/**
 * The port to a file system, as the journal needs it. All paths are absolute or relative to the working directory.
 * Every call rejects with the system's error (`code` such as `ENOSPC`, `EIO`); nothing is retried here.
 */
export interface Disk {
  /** Makes a directory and its missing parents, durably: each parent that got a new name is synced. */
  makeDirectory(path: string): Promise<void>
  /** The names in a directory, in no particular order. */
  list(path: string): Promise<string[]>
  /** `create` makes a new file and fails when the name exists; `write` and `read` need an existing one. */
  open(path: string, mode: 'create' | 'write' | 'read'): Promise<DiskFile>
  /** Replaces `to` when it exists. Durable only after `syncDirectory`. */
  rename(from: string, to: string): Promise<void>
  /** Durable only after `syncDirectory`. */
  unlink(path: string): Promise<void>
  /** Makes the names created, renamed and removed in a directory durable. */
  syncDirectory(path: string): Promise<void>
  /** The size of a file in bytes, or null when there is none. */
  sizeOf(path: string): Promise<number | null>
  /** The room in the file system that holds `path`, which exists. */
  space(path: string): Promise<DiskSpace>
}

export interface DiskFile {
  size(): Promise<number>
  /** Fills `target` from `position`; returns the bytes read, fewer than asked for only at the end of the file. */
  read(target: Buffer, position: number): Promise<number>
  /** Writes all of `data` at `position`; a short write is a failure. Durable only after `sync`. */
  write(data: Buffer, position: number): Promise<void>
  /** As `write` and then `sync`, as one: when it resolves, the data is on stable storage. */
  writeDurably(data: Buffer, position: number): Promise<void>
  /** fdatasync(2). After a failure the unsynced pages may be gone and marked clean: never call it again to find out. */
  sync(): Promise<void>
  truncate(size: number): Promise<void>
  close(): Promise<void>
}
