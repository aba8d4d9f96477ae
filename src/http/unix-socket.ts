import { chmod, lstat, mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { connect, type Server } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { codeOf } from '../base/errors.ts'
import { ListenError } from './listen-error.ts'

/** Long enough for a live server with a full backlog to be told from a dead one. */
const probeMs = 1000

/** A socket file that this process has made. */
export class UnixSocketFile {
  readonly path: string
  readonly #inode: bigint

  private constructor(path: string, inode: bigint) {
    this.path = path
    this.#inode = inode
  }

  /**
   * Makes a server listen on a Unix socket, whose folder is made as well. A file left behind by a process that is gone is
   * replaced; one that someone listens on is an error.
   *
   * bind(2) makes the file with the permissions that the umask leaves, and anyone might connect before chmod(2) takes them
   * away; and the umask belongs to the whole process, so other threads would make their files with ours. So the socket
   * is bound in a folder that only we can enter, gets its permissions there, and is then moved to its place.
   */
  static async bind(server: Server, path: string, mode: number): Promise<UnixSocketFile> {
    await mkdir(dirname(path), { recursive: true })
    await refuseIfTaken(path)
    // As short as can be: the place where it is bound must fit into 107 bytes as its final path must.
    const folder = await mkdtemp(join(dirname(path), '.s'))
    try {
      const bound = join(folder, 's')
      await listen(server, bound)
      await chmod(bound, mode)
      const { ino } = await lstat(bound, { bigint: true })
      await rename(bound, path)
      return new UnixSocketFile(path, ino)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }

  /** Removes the file, unless another process has put its own in its place. Idempotent. */
  async remove(): Promise<void> {
    try {
      const { ino } = await lstat(this.path, { bigint: true })
      if (ino === this.#inode) await rm(this.path)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
    }
  }
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path }, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
}

async function refuseIfTaken(path: string): Promise<void> {
  try {
    const found = await lstat(path)
    if (!found.isSocket()) {
      const hint = `Move ${basename(path)} away, or listen elsewhere.`
      throw new ListenError('EEXIST', `unix:${path}: there is a file, and it is not a socket`, { hint })
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    throw error
  }
  if (await isAlive(path)) {
    const hint = 'Is another Outrigger running? Stop it, or listen elsewhere.'
    throw new ListenError('EADDRINUSE', `unix:${path}: another process listens there`, { hint })
  }
}

/** Whether someone accepts connections on a socket file. Only a refusal proves that nobody does. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path })
    const settle = (alive: boolean): void => {
      socket.destroy()
      resolve(alive)
    }
    socket.setTimeout(probeMs, () => settle(true))
    socket.once('connect', () => settle(true))
    socket.once('error', (error) => settle(codeOf(error) !== 'ECONNREFUSED' && codeOf(error) !== 'ENOENT'))
  })
}
