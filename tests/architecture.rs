//! The rules of the house, checked on the source text: levels, doors, `unsafe`, panics, sizes and names of files.
//!
//! The levels are read from the table in `src/lib.rs`; the doors are the table [`DOORS`]. Each rule is shown to fail on a
//! small text of its own before it is trusted.

#![allow(clippy::unwrap_used)] // All of this file is a test, its functions as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Outside crates and where each may be named: a module, a file, or "" for anywhere.
const DOORS: [(&str, &[&str]); 22] = [
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("csv", &["connectome", "table"]),
    ("flate2", &["connectome", "data"]),
    ("image", &["data"]),
    ("indicatif", &["cli"]),
    ("libc", &["store", "kernels/bf16/amx.rs"]),
    ("memmap2", &["store"]),
    ("rand_xoshiro", &["rng"]),
    ("rayon", &["kernels"]),
    ("rustix", &["store", "kernels/threads.rs"]),
    ("serde", &[""]),
    ("serde_json", &["cli", "export", "study", "train"]),
    ("signal_hook", &["cli", "store"]),
    ("signal_hook_registry", &["store"]),
    ("statrs", &["statistics"]),
    ("strsim", &["config"]),
    ("toml", &["cli", "config", "connectome", "model", "study"]),
    ("wide", &["kernels"]),
    ("xxhash_rust", &[""]),
    ("zip", &["export"]),
];
/// The module and the file that may be `unsafe`.
const UNSAFE: [&str; 2] = ["store", "kernels/bf16/amx.rs"];
/// Most lines of a file, not counting its tests.
const MAX_LINES: usize = 400;
/// What ends a program that was given bad input, or is not finished.
const FORBIDDEN: [&str; 8] =
    [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err(", "todo!", "unimplemented!", "dbg!", "process::exit"];
/// File names that say nothing.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "common", "helpers", "helper", "misc", "shared"];

/// A source file.
struct Source {
    /// Path below `src`, with `/`.
    path: String,
    /// As it is on the disk.
    text: String,
    /// Without comments, the contents of literals, and tests; those are blanks, line by line.
    code: String,
    /// Lines that belong to tests.
    test_lines: usize,
    /// Files that are compiled for tests only (`#[cfg(test)] mod parity;`), as paths without `.rs`.
    test_files: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let bare = without_literals(text);
        let (code, test_lines, names) = without_tests(&bare);
        let folder = match path.strip_suffix("mod.rs").or_else(|| path.strip_suffix("lib.rs")) {
            Some(folder) => folder.to_string(),
            None => format!("{}/", path.trim_end_matches(".rs")),
        };
        let test_files = names.iter().map(|name| format!("{folder}{name}")).collect();
        Self { path: path.to_string(), text: text.to_string(), code, test_lines, test_files }
    }

    /// Top-level module of the file: `kernels` for `kernels/conv.rs`; empty for `lib.rs` and `main.rs`.
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        match first {
            "lib.rs" | "main.rs" => "",
            _ => first.trim_end_matches(".rs"),
        }
    }

    /// Line (from 1) of the byte `at` of `code`.
    fn line(&self, at: usize) -> usize {
        1 + self.code[..at].bytes().filter(|&b| b == b'\n').count()
    }

    fn complain(&self, at: usize, what: &str) -> String {
        format!("src/{} line {}: {what}", self.path, self.line(at))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands in `code` with no letter, digit or underscore at either end where it has one itself.
fn find_words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let starts = !word.starts_with(is_word) || !code[..at].ends_with(is_word);
        starts && (!word.ends_with(is_word) || !code[at + word.len()..].starts_with(is_word))
    })
}

/// `text` with comments and the contents of string and character literals replaced by blanks; line breaks stay.
fn without_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let get = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut out = String::new();
    let mut i = 0;
    while i < chars.len() {
        let start = i;
        let after_word = i > 0 && is_word(chars[i - 1]);
        let hashes = |from: usize| (from..).take_while(|&k| get(k) == '#').count();
        let raw = match (chars[i], get(i + 1)) {
            ('r', '"' | '#') if !after_word => Some(i + 1),
            ('b' | 'c', 'r') if !after_word && matches!(get(i + 2), '"' | '#') => Some(i + 2),
            _ => None,
        };
        if let Some(from) = raw.filter(|&from| get(from + hashes(from)) == '"') {
            let n = hashes(from);
            i = from + n + 1;
            while i < chars.len() && !(chars[i] == '"' && hashes(i + 1) >= n) {
                i += 1;
            }
            i += 1 + n;
        } else if chars[i] == '/' && get(i + 1) == '/' {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if chars[i] == '/' && get(i + 1) == '*' {
            let mut depth = 0;
            while i < chars.len() {
                match (chars[i], get(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else if chars[i] == '"' {
            i += 1;
            while i < chars.len() && chars[i] != '"' {
                i += if chars[i] == '\\' { 2 } else { 1 };
            }
            i += 1;
        } else if chars[i] == '\'' && (get(i + 1) == '\\' || get(i + 2) == '\'') {
            // A character and not a lifetime: `'x'` or `'\...'`.
            i += if get(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && chars[i] != '\'' {
                i += 1;
            }
            i += 1;
        }
        if i == start {
            out.push(chars[i]);
            i += 1;
        } else {
            i = i.min(chars.len());
            out.extend(chars[start..i].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        }
    }
    out
}

/// `code` with each item under `#[cfg(test)]` replaced by blanks, the lines these take, and the names of those that are
/// whole files.
fn without_tests(code: &str) -> (String, usize, Vec<String>) {
    let (mut out, mut lines, mut names, mut rest) = (String::new(), 0, Vec::new(), code);
    while let Some(at) = rest.find("#[cfg(test)]") {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut depth = 0usize;
        // The item ends with the first `;` outside of all brackets or the `}` of its first block.
        let end = rest
            .char_indices()
            .find(|&(_, c)| {
                match c {
                    '{' | '[' | '(' => depth += 1,
                    '}' | ']' | ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0 && matches!(c, '}' | ';')
            })
            .map_or(rest.len(), |(i, _)| i + 1);
        let item = &rest[..end];
        if let Some(name) = item.strip_suffix(';').and_then(|i| i.rsplit_once("mod ")) {
            names.push(name.1.trim().to_string());
        }
        lines += item.lines().count();
        out.extend(item.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out.push_str(rest);
    (out, lines, names)
}

/// Level of each top-level module, from the table in the documentation of `lib.rs`.
fn levels(lib: &str) -> BTreeMap<String, u32> {
    let mut levels = BTreeMap::new();
    for row in lib.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let mut cells = row.split('|').map(str::trim);
        if let (Some(Ok(level)), Some(modules)) = (cells.next().map(str::parse), cells.next()) {
            let names = modules.split(',').map(|m| m.trim().trim_matches(['[', ']', '`']).to_string());
            levels.extend(names.map(|name| (name, level)));
        }
    }
    levels
}

/// Top-level modules named by the code after `crate::` at `at`, also in `crate::{a, b::{c, d}}`.
fn roots(code: &str, at: usize) -> Vec<String> {
    let word = |text: &str| text.trim_start().chars().take_while(|&c| is_word(c)).collect::<String>();
    let after = code[at..].trim_start();
    let Some(group) = after.strip_prefix('{') else { return vec![word(after)] };
    let (mut depth, mut out, mut from) = (0, vec![word(group)], 0);
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => from = i + 1,
            _ => {}
        }
        if from == i + 1 {
            out.push(word(&group[from..]));
        }
    }
    out.retain(|name| !name.is_empty());
    out
}

/// A file names its own module and lower levels only; modules of one level may use each other one way only.
fn check_levels(sources: &[Source], levels: &BTreeMap<String, u32>) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut siblings = BTreeSet::new();
    for source in sources.iter().filter(|s| !s.module().is_empty()) {
        let own = source.module();
        let Some(&level) = levels.get(own) else {
            complaints.push(format!("src/{}: module `{own}` has no row in the table of src/lib.rs", source.path));
            continue;
        };
        // `super::super::` climbs to the crate from a file two modules deep.
        let depth = source.path.trim_end_matches("/mod.rs").split('/').count();
        let climb = "super::".repeat(depth);
        let named = ["crate::", climb.as_str()].into_iter().flat_map(|prefix| {
            let at = find_words(&source.code, prefix).filter(|&at| !source.code[..at].ends_with("super::"));
            at.flat_map(move |at| roots(&source.code, at + prefix.len()).into_iter().map(move |name| (at, name)))
        });
        for (at, name) in named.filter(|(_, name)| name != own && name != "super") {
            match levels.get(&name) {
                None => complaints.push(source.complain(at, &format!("`{name}` is in no level of src/lib.rs"))),
                Some(&other) if other > level => {
                    let what = format!("`{own}` (level {level}) uses `{name}` (level {other})");
                    complaints.push(source.complain(at, &what));
                }
                Some(&other) if other == level => {
                    siblings.insert((own.to_string(), name.clone()));
                    if siblings.contains(&(name.clone(), own.to_string())) {
                        complaints.push(source.complain(at, &format!("`{own}` and `{name}` use each other")));
                    }
                }
                Some(_) => {}
            }
        }
    }
    complaints
}

/// An outside crate is named behind its doors only. A module's own file of that name (`data/csv.rs`) hides the crate.
fn check_doors(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|s| !s.module().is_empty()) {
        let code = &source.code;
        for (name, doors) in DOORS {
            let inside = doors.iter().any(|door| door.is_empty() || *door == source.module() || *door == source.path);
            let own = format!("{}/{name}", source.module());
            let hidden = sources.iter().any(|s| s.path == own.clone() + ".rs" || s.path == own.clone() + "/mod.rs");
            for at in find_words(code, name).filter(|_| !inside) {
                let (before, after) = (code[..at].trim_end(), code[at + name.len()..].trim_start());
                let absolute = before.strip_suffix("::").is_some_and(|b| !b.ends_with(|c| is_word(c) || c == '>'));
                let imported = after.starts_with(';') || after.starts_with("as ");
                let imported = imported && (before.ends_with("use") || before.ends_with("crate"));
                let bare = !before.ends_with("::") && after.starts_with("::") && !hidden;
                if bare || imported || (absolute && after.starts_with("::")) {
                    complaints.push(source.complain(at, &format!("`{name}` belongs behind {doors:?}")));
                }
            }
        }
    }
    complaints
}

/// Every door is used.
fn check_unused_doors(sources: &[Source]) -> Vec<String> {
    let uses = |s: &Source, name: &str, door: &str| {
        (door == s.module() || door == s.path) && find_words(&s.code, name).next().is_some()
    };
    let doors = DOORS.iter().flat_map(|(name, doors)| doors.iter().map(move |door| (*name, *door)));
    let unused = doors.filter(|(name, door)| !door.is_empty() && !sources.iter().any(|s| uses(s, name, door)));
    unused.map(|(name, door)| format!("`{door}` has a door to `{name}` and does not use it")).collect()
}

/// Every dependency has a row in [`DOORS`], and every row a dependency.
fn check_dependencies(manifest: &str) -> Vec<String> {
    let after = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let lines = after.lines().take_while(|line| !line.starts_with('['));
    let found: BTreeSet<String> =
        lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name.trim().replace('-', "_")).collect();
    let known: BTreeSet<String> = DOORS.iter().map(|(name, _)| name.to_string()).collect();
    found.symmetric_difference(&known).map(|name| format!("`{name}` is a dependency or has a door, not both")).collect()
}

/// `unsafe` only in [`UNSAFE`], each block under a `// SAFETY:` comment.
fn check_unsafe(source: &Source) -> Vec<String> {
    let allowed = UNSAFE.contains(&source.module()) || UNSAFE.contains(&source.path.as_str());
    let lines: Vec<&str> = source.text.lines().collect();
    let explained = |at: usize| {
        let above = lines[..source.line(at) - 1].iter().rev().map(|line| line.trim());
        above.take_while(|line| line.starts_with("//")).any(|line| line.starts_with("// SAFETY:"))
    };
    let words = find_words(&source.code, "unsafe").filter(|&at| !(allowed && explained(at)));
    let mut complaints: Vec<String> = words
        .map(|at| source.complain(at, &format!("`unsafe` lives in {UNSAFE:?}, under a `// SAFETY:` comment")))
        .collect();
    let lints = find_words(&source.code, "unsafe_code").filter(|_| !allowed);
    complaints.extend(lints.map(|at| source.complain(at, &format!("`unsafe_code` is allowed in {UNSAFE:?} only"))));
    complaints
}

/// Nothing outside tests panics on a failure or is left for later.
fn check_forbidden(source: &Source) -> Vec<String> {
    let found = FORBIDDEN.iter().flat_map(|word| find_words(&source.code, word).map(move |at| (at, word)));
    found
        .filter(|_| source.path != "main.rs")
        .map(|(at, word)| source.complain(at, &format!("`{word}` has no place outside tests")))
        .collect()
}

/// A file says in its first line what it is, has a name that says something, and is short.
fn check_file(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    if !source.text.starts_with("//! ") {
        complaints.push(format!("src/{}: starts without `//!`", source.path));
    }
    let mut parts = source.path.trim_end_matches(".rs").split('/');
    if let Some(part) = parts.find(|part| EMPTY_NAMES.contains(part)) {
        complaints.push(format!("src/{}: the name `{part}` says nothing", source.path));
    }
    let lines = source.text.lines().count() - source.test_lines;
    if lines > MAX_LINES {
        complaints.push(format!("src/{}: {lines} lines before its tests, at most {MAX_LINES}", source.path));
    }
    complaints
}

/// All files below `src` that are part of the program, test files left out.
fn sources() -> Vec<Source> {
    fn collect(folder: &Path, root: &Path, out: &mut Vec<Source>) {
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                collect(&path, root, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                out.push(Source::new(&name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = Vec::new();
    collect(&root, &root, &mut out);
    assert!(out.len() > 20, "found only {} files", out.len());
    let tests: Vec<String> = out.iter().flat_map(|s| s.test_files.clone()).collect();
    out.retain(|s| !tests.iter().any(|t| s.path == format!("{t}.rs") || s.path.starts_with(&format!("{t}/"))));
    out
}

fn expect_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} faults:\n{}", complaints.len(), complaints.join("\n"));
}

/// Complaints of `check` about a file with this path and text.
fn about(check: fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    check(&Source::new(path, text)).len()
}

#[test]
fn files_use_their_own_module_and_lower_levels() {
    let lib = "//! | 3 | [`model`], [`learning`] | x |\n//! | 2 | [`data`] | y |\n//! | 1 | [`kernels`] | z |";
    let levels_of = |files: &[(&str, &str)]| {
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        check_levels(&sources, &levels(lib)).len()
    };
    assert_eq!(levels_of(&[("model/conv.rs", "use crate::data::X; use crate::model::Y; use super::Z;")]), 0);
    assert_eq!(levels_of(&[("kernels/conv.rs", "use crate::data::X;")]), 1);
    assert_eq!(levels_of(&[("kernels/conv.rs", "use crate::{kernels::{a, b}, data::X, model};")]), 2);
    assert_eq!(levels_of(&[("kernels/conv.rs", "fn f() { super::super::data::g() }")]), 1);
    assert_eq!(levels_of(&[("data/mod.rs", "fn f() { super::model::g() }")]), 1);
    assert_eq!(levels_of(&[("kernels/conv.rs", "// crate::data\nconst S: &str = \"crate::data\";")]), 0);
    assert_eq!(levels_of(&[("other/x.rs", ""), ("data/x.rs", "use crate::other;")]), 2);
    assert_eq!(levels_of(&[("learning/x.rs", "use crate::model;")]), 0);
    assert_eq!(levels_of(&[("learning/x.rs", "use crate::model;"), ("model/x.rs", "use crate::learning;")]), 1);

    let sources = sources();
    let lib = sources.iter().find(|s| s.path == "lib.rs").unwrap();
    let levels = levels(&lib.text);
    for module in lib.code.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        assert!(levels.contains_key(module.trim_end_matches(';')), "{module} has no row in the table of src/lib.rs");
    }
    expect_none(check_levels(&sources, &levels));
}

#[test]
fn outside_crates_have_their_doors() {
    let doors_of =
        |path: &str, text: &str| check_doors(&[Source::new(path, text), Source::new("data/csv.rs", "")]).len();
    assert_eq!(doors_of("kernels/x.rs", "use rayon::prelude::*; fn f() { rayon::join(a, b) }"), 0);
    assert_eq!(doors_of("data/x.rs", "use rayon::prelude::*; fn f() { rayon::join(a, b) }"), 2);
    assert_eq!(doors_of("model/x.rs", "use wide; fn f() { ::statrs::x() } extern crate clap;"), 3);
    assert_eq!(doors_of("model/x.rs", "#[derive(clap::Parser)] struct X;"), 1);
    assert_eq!(doors_of("data/mod.rs", "fn f() { csv::load(); crate::data::csv::load(); self::wide::g() }"), 0);
    assert_eq!(doors_of("data/mod.rs", "fn f() { ::csv::load() }"), 1);
    assert_eq!(doors_of("model/x.rs", "fn f(image: &[u8], wide: bool) { let csv = image; }"), 0);
    assert_eq!(doors_of("model/x.rs", "#[cfg(test)]\nmod tests { use rayon::x; }"), 0);

    expect_none(check_doors(&sources()));
    assert!(!check_unused_doors(&[Source::new("cli/mod.rs", "use clap::Parser;")]).is_empty());
    expect_none(check_unused_doors(&sources()));
}

#[test]
fn dependencies_and_doors_agree() {
    let all: String = DOORS.iter().map(|(name, _)| format!("{name} = \"1\"\n")).collect();
    let manifest =
        |lines: &str| check_dependencies(&format!("[dependencies]\n{lines}\n[dev-dependencies]\nx = \"1\"")).len();
    assert_eq!(manifest(&all.replace('_', "-")), 0);
    assert_eq!(manifest(&format!("{all}tokio = \"1\"")), 1);
    assert_eq!(manifest(&all.replace("csv", "#")), 2);

    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    expect_none(check_dependencies(&fs::read_to_string(manifest).unwrap()));
}

#[test]
fn unsafe_lives_in_the_store_and_one_file() {
    let block = "fn f() {\n    // SAFETY: x could be null;\n    // the assert prevents it.\n    unsafe { g() }\n}";
    assert_eq!(about(check_unsafe, "store/map.rs", block), 0);
    assert_eq!(about(check_unsafe, "kernels/bf16/amx.rs", block), 0);
    assert_eq!(about(check_unsafe, "kernels/x.rs", block), 1);
    assert_eq!(about(check_unsafe, "store/map.rs", "fn f() {\n    unsafe { g() }\n}"), 1);
    assert_eq!(about(check_unsafe, "store/map.rs", "#![allow(unsafe_code)]"), 0);
    assert_eq!(about(check_unsafe, "model/x.rs", "#![allow(unsafe_code)]"), 1);
    assert_eq!(about(check_unsafe, "model/x.rs", "// unsafe\nfn f(x: &str) { f(\"unsafe\") }"), 0);

    expect_none(sources().iter().flat_map(check_unsafe).collect());
}

#[test]
fn nothing_outside_tests_panics_on_failure() {
    let forbidden = |text: &str| about(check_forbidden, "model/x.rs", text);
    assert_eq!(forbidden(&format!("fn f() {{ a.unwrap(); b.expect(\"c\"); {}() }}", "todo!")), 3);
    assert_eq!(forbidden("fn f() {}\n#[cfg(test)]\nmod tests { fn g() { a.unwrap() } }\nfn h() { b.unwrap() }"), 1);
    assert_eq!(forbidden("fn f() { a.unwrap_or(0); b.unwrap_or_default() } // .unwrap()"), 0);
    assert_eq!(forbidden("const A: &str = r#\"a\".unwrap()\"#; const B: char = '\"'; fn f() { g().unwrap() }"), 1);
    assert_eq!(forbidden("fn f<'a>(x: &'a str) { g('\\'', '{'); x.unwrap() /* /* */ .unwrap() */ }"), 1);

    expect_none(sources().iter().flat_map(check_forbidden).collect());
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let lines = |n: usize| "//! What.\n".to_string() + &"fn f() {}\n".repeat(n - 1);
    assert_eq!(about(check_file, "model/x.rs", &lines(400)), 0);
    assert_eq!(about(check_file, "model/x.rs", &lines(401)), 1);
    let tested = lines(399) + "#[cfg(test)]\nmod tests {\n" + &"fn f() {}\n".repeat(300) + "}\n";
    assert_eq!(about(check_file, "model/x.rs", &tested), 0);
    assert_eq!(about(check_file, "model/x.rs", "use std::fs;"), 1);
    assert_eq!(about(check_file, "model/utils.rs", "//! What."), 1);
    assert_eq!(about(check_file, "helpers/mod.rs", "//! What."), 1);
    let parity = Source::new("kernels/mod.rs", "//! What.\n#[cfg(test)]\npub mod parity;\npub mod conv;");
    assert_eq!(parity.test_files, ["kernels/parity"]);

    expect_none(sources().iter().flat_map(check_file).collect());
}
