"""Checks the packages of this workspace, as `cargo package` would create them.

For each published package: its manifest has the fields that the registry and docs.rs show; it contains its README and licences, and only files
for users; each link of its documents leads to a file or heading in the package; no dependency needs a newer Rust than the package states.

Usage: packages.py [--names | --release]
  --names    only the names of the packages, those first that others depend on
  --release  also what only a release needs
"""

import json
import posixpath
import re
import subprocess
import sys

# Packages on which others depend come first.
PUBLISHED = ["saga-core", "saga-macros", "saga-http", "saga-kafka", "saga-schema", "sagas"]
# What the registry shows, and the files that a user of each package compiles or reads.
STATED = ["description", "documentation", "license", "readme", "rust_version"]
OF_ALL = r"Cargo\.(toml|toml\.orig|lock)|\.cargo_vcs_info\.json|README\.md|LICENSE-(APACHE|MIT)|src/.+\.rs"
OF_EACH = {
    "saga-core": r"src/store/(postgres|sqlite)/\w+\.sql|src/saga/diagram/testdata/\w+\.(dot|md|mmd)",
    "saga-http": r"src/openapi/(docs\.html|start\.js)",
    "sagas": r"CHANGELOG\.md|docs/guide/[\w-]+\.md|docs/(glossary|guarantees|runbook)\.md|examples/hello\.rs|examples/existing-service/main\.rs",
}
NEEDED = ["Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT", "src/lib.rs"]


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def manifest(package):
    """Yields the errors in a manifest."""
    yield from (f"its manifest has no `{field}`" for field in STATED if not package[field])
    if not 1 <= len(package["keywords"]) <= 5:
        yield f"the registry takes one to five keywords, and it has {len(package['keywords'])}"
    if not 1 <= len(package["categories"]) <= 5:
        yield f"the registry takes one to five categories, and it has {len(package['categories'])}"
    docs = (package["metadata"] or {}).get("docs", {}).get("rs")
    if docs is None:
        yield "it has no `[package.metadata.docs.rs]`"
        return
    if package["features"]:
        shown = set(docs.get("features", []))
        # `tls` builds OpenSSL, which is C and takes minutes, and no item depends on it; the program has no page.
        wanted = set(package["features"]) - {"default", "tls", "cli"}
        if shown != wanted:
            yield f"docs.rs shows the features {sorted(shown)}, and it has {sorted(wanted)}"
        if "docsrs" not in docs.get("rustdoc-args", []):
            yield "docs.rs does not set `docsrs`, which shows what feature an item needs"


def contents(name, files):
    """Yields the errors in the list of a package's files."""
    yield from (f"there is no {file} in it" for file in NEEDED if file not in files)
    allowed = re.compile("|".join(filter(None, [OF_ALL, OF_EACH.get(name)])))
    yield from (f"{file} is in it, and is not a user's" for file in files if not allowed.fullmatch(file))


def anchors(text):
    """Returns the anchors of the headings of a Markdown text."""
    headings = re.findall(r"^#+ +(.+?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(path, text):
    """Returns the Markdown of a document or of a source file's doc comments, without code."""
    if path.endswith(".rs"):
        text = "\n".join(re.findall(r"^\s*//[/!] ?(.*)$", text, re.MULTILINE))
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"``.*?``|`[^`\n]*`", "", text)


def links(root, files):
    """Yields links whose target is not in the package, or that work either only on the registry or only in rustdoc."""
    for path in (file for file in files if file.endswith((".md", ".rs"))):
        text = read(posixpath.join(root, path))
        # Rustdoc pages have no files next to them.
        of_rustdoc = path.endswith(".rs") or path.startswith("docs/guide/")
        plain = prose(path, text)
        targets = re.findall(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$|(?:src|href)=\"([^\"]+)\"", plain, re.MULTILINE)
        for target in (one for found in targets for one in found if one):
            file, _, anchor = target.partition("#")
            if "://" in target:
                continue
            if not file:
                # The page of an item has the anchors of all its parts; rustdoc checks them.
                if path.endswith(".md") and anchor not in anchors(text):
                    yield f"{path} links to #{anchor}, and has no such heading"
            elif of_rustdoc:
                if "/" in file or re.search(r"\.(md|rs|toml|html|svg|png)$", file):
                    yield f"{path} links to the file {target}, and rustdoc has no files beside its pages: name the item (`crate::..`), or a URL"
            elif "::" in file:
                yield f"{path} links to the item {target}, which is no link outside of rustdoc: give its URL on docs.rs"
            else:
                there = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
                if there not in files:
                    yield f"{path} links to {target}, which is not in the package: leave out the link, or give a URL"
                elif anchor and anchor not in anchors(read(posixpath.join(root, there))):
                    yield f"{path} links to {target}, which has no such heading"


def number(version):
    return [*map(int, version.split(".")), 0, 0][:3]


def too_new(metadata):
    """Yields dependencies that need a newer Rust than the packages state. Dev-dependencies are left out: no user compiles them."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    ours = [package["id"] for package in packages.values() if package["name"] in PUBLISHED and package["source"] is None]
    oldest = max((packages[id]["rust_version"] for id in ours), key=number)
    reached, ahead = set(ours), list(ours)
    while ahead:
        for dependency in nodes[ahead.pop()]["deps"]:
            if dependency["pkg"] not in reached and any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                reached.add(dependency["pkg"])
                ahead.append(dependency["pkg"])
    for package in sorted((packages[id] for id in reached), key=lambda package: package["name"]):
        if number(package["rust_version"] or "0") > number(oldest):
            yield f"{package['name']} {package['version']} needs Rust {package['rust_version']}, and `rust-version` is {oldest}"


def release(packages):
    """Yields what prevents a release of the packages."""
    version = packages["sagas"]["version"]
    for name, package in packages.items():
        if not (package["repository"] or "").startswith("https://"):
            yield f"{name}: its manifest has no `repository`: set it in [workspace.package], with `repository.workspace = true` in each crate"
        if package["version"] != version:
            yield f"{name} has version {package['version']}, and sagas {version}: they are released together"
    if not re.search(rf"^## \[?{re.escape(version)}\]?\W+\d{{4}}-\d\d-\d\d$", read("CHANGELOG.md"), re.MULTILINE):
        yield f"CHANGELOG.md has no section `## {version} - <year>-<month>-<day>`"
    changed = subprocess.run(["git", "status", "--porcelain"], check=True, stdout=subprocess.PIPE, text=True).stdout
    if changed:
        yield f"what is not committed would not be what is tagged:\n{changed}"


def main(arguments):
    if arguments == ["--names"]:
        print("\n".join(PUBLISHED))
        return 0
    if arguments not in ([], ["--release"]):
        print(__doc__, file=sys.stderr)
        return 2
    metadata = json.loads(cargo("metadata", "--locked", "--all-features", "--format-version", "1"))
    members = [package for package in metadata["packages"] if package["id"] in metadata["workspace_members"]]
    packages = {package["name"]: package for package in members if package["publish"] != []}
    problems = list(too_new(metadata))
    if sorted(packages) != sorted(PUBLISHED):
        problems.append(f"published would be {sorted(packages)}, and {sorted(PUBLISHED)} are to be: see `publish = false`")
    for name in sorted(packages):
        package = packages[name]
        files = cargo("package", "--locked", "--allow-dirty", "--list", "--quiet", "--package", name).split("\n")
        files = sorted(file for file in files if file)
        root = posixpath.dirname(package["manifest_path"])
        found = [*manifest(package), *contents(name, files), *links(root, [file for file in files if not file.startswith((".", "Cargo."))])]
        problems += [f"{name}: {problem}" for problem in found]
    if arguments:
        problems += release(packages)
    for problem in problems:
        print(f"package: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
