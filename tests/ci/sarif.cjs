// Checks a report by SARIF's own schema: node sarif.cjs REPORT. Says what is wrong, or nothing.

const { readFileSync } = require("node:fs");
const Ajv = require("ajv");

// Addresses are checked by their characters alone, and the schema is older than the checker's usual language.
const checker = new Ajv({ schemaId: "id", meta: false, allErrors: true });
checker.addMetaSchema(require("ajv/lib/refs/json-schema-draft-04.json"));
const schema = require("@microsoft/jest-sarif/lib/schemas/sarif-2.1.0-rtm.5.json");
if (!checker.validate(schema, JSON.parse(readFileSync(process.argv[2], "utf8")))) {
  console.log(JSON.stringify(checker.errors, null, 1));
  process.exitCode = 1;
}
