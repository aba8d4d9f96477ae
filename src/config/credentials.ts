import { createPrivateKey, X509Certificate } from 'node:crypto'
import { codeOf, messageOf } from '../base/errors.ts'
import { Secret } from '../base/secret.ts'
import { readKeyList } from '../security/key-list.ts'
import type { CassandraConfig, KafkaConfig, KafkaSaslConfig, MysqlConfig, ParsedConfig, TlsConfig } from './schema.ts'

/** Reads a whole text file. Rejects as `node:fs` does. */
export type ReadFile = (path: string) => Promise<string>

/** A fault in what a setting points to or holds; where the setting comes from is added by the caller. */
export interface CredentialFault {
  readonly path: string
  readonly given?: string
  readonly expected: string
  readonly hint?: string
}

/** What is wrong with a file that could not be read, in a few words. */
export function unreadable(error: unknown): string {
  const code = codeOf(error)
  switch (code) {
    case 'ENOENT':
      return 'there is no such file'
    case 'EACCES':
    case 'EPERM':
      return 'it may not be read'
    case 'EISDIR':
      return 'it is a folder'
    default:
      return code === undefined ? 'it could not be read' : `it could not be read: ${code}`
  }
}

/** The sections whose `…File` settings are read. */
type Sections = Pick<ParsedConfig, 'kafka' | 'mysql' | 'cassandra' | 'encryption'>

export interface Credentials {
  readonly kafka: KafkaConfig
  readonly mysql: MysqlConfig
  readonly cassandra: CassandraConfig
  readonly faults: readonly CredentialFault[]
}

/** Reads what `…File` settings point to, and checks that certificates and keys are what they should be. */
export async function readCredentials(parsed: Sections, readFile: ReadFile): Promise<Credentials> {
  const faults: CredentialFault[] = []
  const read = async (path: string, file: string | undefined): Promise<string | undefined> => {
    if (file === undefined) return undefined
    try {
      const text = await readFile(file)
      if (text.trim() !== '') return text
      faults.push({ path, given: JSON.stringify(file), expected: 'a file with content', hint: 'it is empty' })
    } catch (error) {
      faults.push({ path, given: JSON.stringify(file), expected: 'a readable file', hint: unreadable(error) })
    }
    return undefined
  }
  const readTls = async (section: string, given: TlsConfig): Promise<TlsConfig> => {
    const ca = (await read(`${section}.caFile`, given.caFile)) ?? given.ca
    const cert = (await read(`${section}.certFile`, given.certFile)) ?? given.cert
    const keyText = await read(`${section}.keyFile`, given.keyFile)
    const key = keyText === undefined ? given.key : new Secret(keyText)
    const tls = { ...given, ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) }
    faults.push(...tlsFaults(section, tls))
    return tls
  }

  const { sasl: parsedSasl, tls: parsedTls, ...rest } = parsed.kafka
  let sasl: KafkaSaslConfig | undefined
  if (parsedSasl) {
    const text = await read('kafka.sasl.passwordFile', parsedSasl.passwordFile)
    const password = text === undefined ? parsedSasl.password : new Secret(text.replace(/[\r\n]+$/, ''))
    // Without a password there is a fault, and this result is not used.
    if (password) sasl = { ...parsedSasl, password }
  }
  const tls = parsedTls && (await readTls('kafka.tls', parsedTls))
  const kafka = { ...rest, ...(tls && { tls }), ...(sasl && { sasl }) }

  const readStore = async <Store extends MysqlConfig | CassandraConfig>(name: string, store: Store): Promise<Store> => {
    // It is read again for each connection; that it can be read at all is known now.
    await read(`${name}.passwordFile`, store.passwordFile)
    return store.tls ? { ...store, tls: await readTls(`${name}.tls`, store.tls) } : store
  }
  const mysql = await readStore('mysql', parsed.mysql)
  const cassandra = await readStore('cassandra', parsed.cassandra)

  // They are read again as well; that they are keys is known now.
  const { keys, keysFile } = parsed.encryption
  const keyText = (await read('encryption.keysFile', keysFile)) ?? keys?.reveal()
  if (keyText !== undefined) faults.push(...keyFaults(keyText, keysFile))
  return { kafka, mysql, cassandra, faults }
}

function keyFaults(text: string, file: string | undefined): CredentialFault[] {
  try {
    readKeyList(text)
    return []
  } catch (error) {
    const where = file === undefined ? { path: 'encryption.keys' } : { path: 'encryption.keysFile', given: JSON.stringify(file) } // prettier-ignore
    return [{ ...where, expected: 'keys as ID:KEY, each 32 bytes in Base64', hint: messageOf(error) }]
  }
}

function tlsFaults(section: string, tls: TlsConfig): CredentialFault[] {
  const faults: CredentialFault[] = []
  /** The setting that the text came from. */
  const named = (name: 'ca' | 'cert' | 'key'): { path: string; given?: string } => {
    const file = tls[`${name}File`]
    return file === undefined
      ? { path: `${section}.${name}` }
      : { path: `${section}.${name}File`, given: JSON.stringify(file) }
  }
  if (tls.ca !== undefined && !readCertificates(tls.ca)) {
    faults.push({ ...named('ca'), expected: 'certificates in PEM ("-----BEGIN CERTIFICATE-----")' })
  }
  const certificates = tls.cert === undefined ? undefined : readCertificates(tls.cert)
  if (tls.cert !== undefined && !certificates) {
    faults.push({ ...named('cert'), expected: 'a certificate in PEM ("-----BEGIN CERTIFICATE-----")' })
  }
  if (tls.key === undefined) return faults
  const pem = tls.key.reveal()
  try {
    const key = createPrivateKey(pem)
    if (certificates?.[0] && !certificates[0].checkPrivateKey(key)) {
      faults.push({
        ...named('key'),
        expected: 'the private key of the certificate',
        hint: 'it belongs to another one',
      })
    }
  } catch {
    // The cause is OpenSSL's and says nothing that a person could use.
    const hint = pem.includes('ENCRYPTED') ? { hint: 'it is encrypted' } : {}
    faults.push({ ...named('key'), expected: 'a private key in PEM, not encrypted', ...hint })
  }
  return faults
}

/** The certificates of a PEM text, or undefined when it holds none, or one that can't be read. */
function readCertificates(pem: string): X509Certificate[] | undefined {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g)
  if (!blocks) return undefined
  try {
    return blocks.map((block) => new X509Certificate(block))
  } catch {
    return undefined
  }
}
