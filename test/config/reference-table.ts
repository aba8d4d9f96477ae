import { format, resolveConfig } from 'prettier'
import { variableOf } from '../../src/config/environment.ts'
import type { SectionNode, SettingNode } from '../../src/config/settings-tree.ts'
import { configTree, sectionsOf } from '../../src/config/settings-tree.ts'

const begin = '<!-- Generated from src/config/schema.ts by `npm run docs`; edit there. -->'
const end = '<!-- End of the generated part. -->'

/** The document with its generated part made anew. */
export async function withReference(document: string, file: string): Promise<string> {
  const from = document.indexOf(begin)
  const to = document.indexOf(end)
  if (from === -1 || to < from) throw new Error(`${file} lacks the markers of the generated part`)
  const text = `${document.slice(0, from)}${begin}\n\n${reference()}\n\n${document.slice(to)}`
  return format(text, { ...(await resolveConfig(file)), filepath: file })
}

function reference(): string {
  return sectionsOf(configTree).map(sectionReference).join('\n\n')
}

function sectionReference(section: SectionNode): string {
  const settings = [...section.children.values()].filter((node) => node.kind === 'setting')
  const rows = settings.map(row).join('\n')
  const table = `| Setting and variable | Default | Value | Meaning |\n| --- | --- | --- | --- |\n${rows}`
  if (section.path === '') return `### At the top\n\n${table}`
  const level = '#'.repeat(section.path.split('.').length + 2)
  const variable = section.switchable ? ` \`${variableOf(section.path)}\` takes \`true\` and \`false\`.` : ''
  return `${level} ${section.path}\n\n${section.description}${variable}\n\n${table}`
}

function row(setting: SettingNode): string {
  const value =
    setting.listExpected === undefined ? setting.info.expected : `${setting.listExpected}: ${setting.info.expected}`
  const cells = [
    `\`${setting.path}\`<br>\`${variableOf(setting.path)}\``,
    fallback(setting),
    value,
    setting.description,
  ]
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

function fallback({ default: value, required, followed }: SettingNode): string {
  if (value !== undefined) return `\`${written(value)}\``
  return followed ?? (required ? 'must be given' : 'none')
}

function written(value: unknown): string {
  return Array.isArray(value) ? `[${value.map(String).join(', ')}]` : String(value)
}
