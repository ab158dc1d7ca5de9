// Builds the voter's page into built/, or the folder given: the same sources give the same bytes, wherever and whenever.
//
// Every file is named by its own digest, so that a cache never shows an old one, and stands beside its gzip and brotli
// forms, so that the edge compresses nothing. manifest.json lists what was built, from what, and each file's SHA-256; how
// well a file compresses is not in it, because that differs between processors.
//
// Builds may run at the same time, and one may be killed: each has a folder of its own beside built/, which takes its
// place when it is whole. manifest.json has the time at which its build began, so that any source that was changed
// since is newer.

import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const HERE = dirname(fileURLToPath(import.meta.url));
const BUILT = resolve(process.argv[2] ?? join(HERE, "built"));
const ENTRIES = {
  vote: "src/vote.ts",
  check: "src/check.ts",
  complain: "src/complain.ts",
  style: "src/style.css",
};
// Browsers of the last five years or so; what they lack beyond syntax is asked for while the page runs.
const TARGET = ["es2021", "chrome91", "firefox90", "safari15"];
const SOURCES = ["src", "text", "templates"];
const NAME_DIGITS = 12;
const LEFT_OVER_MS = 10 * 60 * 1000;
const SWAPS_MAX = 20;

const began = new Date();
if (!existsSync(join(HERE, "node_modules", "esbuild"))) {
  console.error(
    "build.mjs: the packages that build the page are not here; run `npm ci --omit=dev` in intake/page first.",
  );
  process.exit(1);
}
const { build, version } = await import("esbuild");

// The hybrid's module also makes hybrids of curves that no vote uses, by calls that the bundler must keep unless told
// that they do nothing else: a quarter of the script. Only those comments are added, nothing in the library changes.
const UNUSED_HYBRIDS = /(?<!function )\b(?=(?:QSF|createKitchenSink|ecdhKem)\()/g;
const withoutUnusedHybrids = {
  name: "without-unused-hybrids",
  setup({ onLoad }) {
    onLoad({ filter: /post-quantum[\\/]hybrid\.js$/ }, ({ path }) => ({
      contents: readFileSync(path, "utf8").replace(UNUSED_HYBRIDS, "/* @__PURE__ */ "),
    }));
  },
};

const sha256 = (data) => createHash("sha256").update(data).digest("hex");

async function bundled() {
  const { outputFiles } = await build({
    absWorkingDir: HERE,
    entryPoints: ENTRIES,
    bundle: true,
    minify: true,
    charset: "utf8",
    format: "esm",
    target: TARGET,
    legalComments: "eof",
    outdir: "out",
    write: false,
    loader: { ".svg": "text" },
    plugins: [withoutUnusedHybrids],
  });
  return outputFiles.map((file) => {
    const [, name, kind] = /([a-z]+)\.(js|css)$/.exec(file.path);
    return { name: `${name}.${kind}`, data: Buffer.from(file.contents) };
  });
}

function digestOfSources() {
  const lines = SOURCES.flatMap((folder) =>
    readdirSync(join(HERE, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name)),
  )
    .map((path) => `${sha256(readFileSync(path))}  ${path.slice(HERE.length + 1).replaceAll("\\", "/")}\n`)
    .sort();
  return sha256(lines.join(""));
}

function write(folder, assets) {
  const files = {};
  const compressed = {};
  for (const { name, data } of assets) {
    const digest = sha256(data);
    const [stem, kind] = name.split(".");
    const path = `${stem}-${digest.slice(0, NAME_DIGITS)}.${kind}`;
    const gzip = gzipSync(data, { level: 9 });
    const brotli = brotliCompressSync(data, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
    writeFileSync(join(folder, path), data);
    writeFileSync(join(folder, `${path}.gz`), gzip);
    writeFileSync(join(folder, `${path}.br`), brotli);
    files[name] = { path, sha256: digest, bytes: data.length };
    compressed[path] = { gzip: sha256(gzip), br: sha256(brotli) };
    console.log(`${path}  ${data.length} bytes, gzip ${gzip.length}, brotli ${brotli.length}`);
  }
  writeFileSync(join(folder, "compressed.json"), `${JSON.stringify(compressed, null, 2)}\n`);
  return files;
}

/** Gives the first of the two folders the other's place; whoever reads there meanwhile finds the one or the other. */
function swap(fresh, place) {
  for (let swaps = 1; ; swaps++) {
    const before = mkdtempSync(`${place}.old-`);
    try {
      renameSync(place, join(before, "built"));
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
    try {
      renameSync(fresh, place);
      return;
    } catch (error) {
      // Another build was as quick: its folder goes the same way.
      if (!["ENOTEMPTY", "EEXIST"].includes(error.code) || swaps === SWAPS_MAX) throw error;
    } finally {
      rmSync(before, { recursive: true, force: true });
    }
  }
}

/** Removes what builds that were killed have left; those under way are younger. */
function removeLeftOvers(place) {
  const names = readdirSync(dirname(place)).filter((name) =>
    ["new", "old"].some((kind) => name.startsWith(`${basename(place)}.${kind}-`)),
  );
  for (const path of names.map((name) => join(dirname(place), name))) {
    const age = began - (statSync(path, { throwIfNoEntry: false })?.mtime ?? began);
    if (age > LEFT_OVER_MS) rmSync(path, { recursive: true, force: true });
  }
}

mkdirSync(dirname(BUILT), { recursive: true });
removeLeftOvers(BUILT);
const draft = mkdtempSync(`${BUILT}.new-`);
try {
  const folder = join(draft, "built");
  mkdirSync(folder);
  const assets = [...(await bundled()), { name: "icon.svg", data: readFileSync(join(HERE, "src/icon.svg")) }];
  const files = write(
    folder,
    assets.sort((a, b) => (a.name < b.name ? -1 : 1)),
  );
  const manifest = { esbuild: version, sources_sha256: digestOfSources(), files };
  writeFileSync(join(folder, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  utimesSync(join(folder, "manifest.json"), began, began);
  swap(folder, BUILT);
} finally {
  rmSync(draft, { recursive: true, force: true });
}
