// Calls functions of the page for test_page_modules.py: {module, name, args} in, their results out, as lists in JSON.
// {"bytes": base64} is an ArrayBuffer, {"floats": [...]} a Float32Array; a result's typed arrays become lists.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [folder] = process.argv.slice(2);
const isTyped = (value) => ArrayBuffer.isView(value) && !(value instanceof DataView);
const given = (key, value) => {
  if (value?.bytes !== undefined) return Uint8Array.from(Buffer.from(value.bytes, "base64")).buffer;
  if (value?.floats !== undefined) return Float32Array.from(value.floats);
  return value;
};
const found = (key, value) => (isTyped(value) ? Array.from(value) : value);

const answers = [];
for (const { module, name, args, method } of JSON.parse(readFileSync(0, "utf-8"), given)) {
  const code = await import(pathToFileURL(`${folder}/${module}`));
  try {
    // with a method, name is a class: made of the first arguments, whose method is called with each of the last's lists
    const made = method ? new code[name](...args.slice(0, -1)) : null;
    const result = method ? args.at(-1).map((one) => made[method](...one)) : await code[name](...args);
    answers.push({ result });
  } catch (error) {
    answers.push({ error: `${error.name}: ${error.message}` });
  }
}
process.stdout.write(JSON.stringify(answers, found));
