// Checks docs/asyncapi.yaml with the parser of the AsyncAPI project; any finding but information is a failure.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { Parser } = createRequire(process.env.NODE_PATH + '/')('@asyncapi/parser');
const file = 'docs/asyncapi.yaml';
const { diagnostics } = await new Parser().parse(readFileSync(file, 'utf8'), { source: file });
const found = diagnostics.filter((d) => d.severity < 2);
for (const d of found) console.error(`${file}:${d.range.start.line + 1}: ${d.code}: ${d.message} (${d.path.join('/')})`);
console.log(`${file}: ${found.length} faults, ${diagnostics.length - found.length} remarks`);
if (found.length > 0) process.exit(1);
