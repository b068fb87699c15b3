//! No circles of imports: that a file names what another holds is an arrow, and no arrows lead from a
//! file back to it. What a file passes on with `pub use` is the other file's: who names it has an
//! arrow to there, and a map of modules has none. Nor is it an arrow that a file names what the modules
//! that hold it share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use super::{code, sources};

/// Which files name which: an arrow, and a name that makes it.
type Arrows = BTreeMap<(usize, usize), String>;

/// A file, as far as its names go.
#[derive(Default)]
struct File {
    /// Where it stands: `["net", "wire"]`.
    module: Vec<String>,
    /// What it brings into scope, and whether it passes that on.
    uses: Vec<Use>,
    /// The other paths in it, each with the modules inside the file that it stands in.
    paths: Vec<Vec<String>>,
}

struct Use {
    path: Vec<String>,
    name: String,
    passed_on: bool,
}

// ===== reading =====

/// Names, `::`, and every other mark by itself. Texts are left out.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphabetic() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        if matches!(token, "r" | "br") && rest[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let inner = &rest[hashes + 1..];
            rest = inner.find(&end).map_or("", |at| &inner[at + end.len()..]);
        } else if token == "\"" {
            rest = after_quote(rest, '"');
        } else if token == "'" && (rest.starts_with('\\') || rest.chars().nth(1) == Some('\'')) {
            rest = after_quote(rest, '\'');
        } else if !token.trim().is_empty() {
            tokens.push(token);
        }
    }
    tokens
}

/// What comes after the end of a text.
fn after_quote(text: &str, quote: char) -> &str {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == quote && !escaped {
            return &text[at + 1..];
        }
        escaped = c == '\\' && !escaped;
    }
    ""
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The module of a file below the root of its crate.
fn module(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs");
    let path = path.strip_suffix("mod").filter(|map| map.ends_with('/')).unwrap_or(path);
    let names = path.split('/').filter(|name| !name.is_empty() && !matches!(*name, "lib" | "main"));
    names.map(str::to_owned).collect()
}

impl File {
    fn read(path: &str, text: &str) -> File {
        let lines: Vec<_> = code(text).into_iter().map(|(_, line)| line).collect();
        let text = lines.join("\n");
        let tokens = tokens(&text);
        let token = |at: usize| tokens.get(at).copied().unwrap_or_default();
        let mut file = File { module: module(path), ..File::default() };
        // Modules inside the file, with how deep in braces each began.
        let (mut inner, mut depth): (Vec<(&str, usize)>, usize) = (Vec::new(), 0);
        let mut at = 0;
        while at < tokens.len() {
            match token(at) {
                "mod" if token(at + 2) == "{" => {
                    inner.push((token(at + 1), depth));
                    depth += 1;
                    at += 3;
                }
                "{" => {
                    depth += 1;
                    at += 1;
                }
                "}" => {
                    depth = depth.saturating_sub(1);
                    inner.pop_if(|(_, began)| *began == depth);
                    at += 1;
                }
                "use" if token(at + 1) != "<" => {
                    let passed_on = at > 0 && matches!(token(at - 1), "pub" | ")");
                    at += 1;
                    let mut found = Vec::new();
                    tree(&tokens, &mut at, &mut Vec::new(), &mut found);
                    for (path, name) in found {
                        file.uses.push(Use { path: from_file(&inner, path), name, passed_on });
                    }
                }
                first
                    if is_name(first) && token(at + 1) == "::" && (at == 0 || !matches!(token(at - 1), "::" | "$")) =>
                {
                    let mut path = vec![first.to_owned()];
                    at += 1;
                    while token(at) == "::" && is_name(token(at + 1)) {
                        path.push(token(at + 1).to_owned());
                        at += 2;
                    }
                    file.paths.push(from_file(&inner, path));
                }
                _ => at += 1,
            }
        }
        file
    }
}

/// A path that stands in modules inside a file, as it would stand in the file itself.
fn from_file(inner: &[(&str, usize)], mut path: Vec<String>) -> Vec<String> {
    for _ in inner {
        if path.first().is_some_and(|first| first == "super") {
            path.remove(0);
        }
    }
    path
}

/// The paths of a `use`, each with the name that it brings.
fn tree(tokens: &[&str], at: &mut usize, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let token = |at: usize| tokens.get(at).copied().unwrap_or(";");
    let outer = path.len();
    loop {
        match token(*at) {
            "{" => {
                while token(*at) != "}" && token(*at) != ";" {
                    *at += 1;
                    tree(tokens, at, path, found);
                }
                *at += 1;
                break;
            }
            "::" => *at += 1,
            "," | "}" | ";" => break,
            "as" => {
                found.last_mut().expect("a path comes before").1 = token(*at + 1).to_owned();
                *at += 2;
            }
            name => {
                if name != "self" || path.is_empty() {
                    path.push(name.to_owned());
                }
                *at += 1;
                if token(*at) != "::" {
                    found.push((path.clone(), path.last().cloned().unwrap_or_default()));
                }
            }
        }
    }
    path.truncate(outer);
}

// ===== arrows =====

struct Crate {
    files: Vec<File>,
    by_module: HashMap<Vec<String>, usize>,
}

/// No path leads through more names that stand for others.
const HOPS: usize = 8;

impl Crate {
    fn read(sources: &[(String, String)]) -> Crate {
        let files: Vec<_> = sources.iter().map(|(path, text)| File::read(path, text)).collect();
        let by_module = files.iter().enumerate().map(|(at, file)| (file.module.clone(), at)).collect();
        Crate { files, by_module }
    }

    /// A path from the crate's root, if it leads to something of this crate.
    fn absolute(&self, file: usize, path: &[String], hops: usize) -> Option<Vec<String>> {
        let file_at = file;
        let file = &self.files[file];
        let mut base = file.module.clone();
        let (first, mut rest) = path.split_first()?;
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => {
                base.pop()?;
                while let Some((_, after)) = rest.split_first().filter(|(next, _)| *next == "super") {
                    base.pop()?;
                    rest = after;
                }
            }
            name => {
                base.push(name.to_owned());
                if !self.by_module.contains_key(&base) {
                    let brought = file.uses.iter().find(|brought| brought.name == name && brought.path != path)?;
                    base = self.absolute(file_at, &brought.path, hops.checked_sub(1)?)?;
                }
            }
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    /// The file that holds what a path from the root names. A path that ends at a module names
    /// nothing yet.
    fn holder(&self, path: &[String], hops: usize) -> Option<usize> {
        let depth = (0..=path.len()).rev().find(|&depth| self.by_module.contains_key(&path[..depth]))?;
        let file = self.by_module[&path[..depth]];
        let (name, rest) = path[depth..].split_first()?;
        let passed_on = self.files[file].uses.iter().find(|brought| brought.passed_on && brought.name == *name);
        let Some(passed_on) = passed_on else { return Some(file) };
        let mut path = self.absolute(file, &passed_on.path, HOPS)?;
        path.extend_from_slice(rest);
        self.holder(&path, hops.checked_sub(1)?)
    }

    fn arrows(&self) -> Arrows {
        let mut arrows = Arrows::new();
        for (at, file) in self.files.iter().enumerate() {
            let brought = file.uses.iter().filter(|brought| !brought.passed_on).map(|brought| &brought.path);
            for path in brought.chain(&file.paths) {
                let Some(path) = self.absolute(at, path, HOPS) else { continue };
                let is_own = |to: usize| file.module.starts_with(&self.files[to].module);
                if let Some(to) = self.holder(&path, HOPS).filter(|&to| !is_own(to)) {
                    arrows.entry((at, to)).or_insert_with(|| path.join("::"));
                }
            }
        }
        arrows
    }
}

// ===== circles =====

/// The sets of files of which each reaches each other one.
fn circles(files: usize, arrows: &Arrows) -> Vec<Vec<usize>> {
    let mut reaches = vec![vec![false; files]; files];
    for &(from, to) in arrows.keys() {
        reaches[from][to] = true;
    }
    for by in 0..files {
        for from in 0..files {
            if reaches[from][by] {
                let further = reaches[by].clone();
                reaches[from].iter_mut().zip(further).for_each(|(reach, further)| *reach |= further);
            }
        }
    }
    let circle = |at: usize| (0..files).filter(|&other| reaches[at][other] && reaches[other][at]).collect::<Vec<_>>();
    let found: BTreeSet<_> = (0..files).map(circle).filter(|circle| circle.len() > 1).collect();
    found.into_iter().collect()
}

/// The circles of these sources, each with the arrows in it.
fn found(sources: &[(String, String)]) -> Vec<(Vec<String>, Vec<String>)> {
    let arrows = Crate::read(sources).arrows();
    let describe = |circle: Vec<usize>| {
        let within = arrows.iter().filter(|((from, to), _)| circle.contains(from) && circle.contains(to));
        let named = within.map(|((from, _), name)| format!("{} names {name}", sources[*from].0)).collect();
        (circle.iter().map(|&at| sources[at].0.clone()).collect(), named)
    };
    circles(sources.len(), &arrows).into_iter().map(describe).collect()
}

/// The circles of files with these texts, and what makes them.
fn described(sources: &[(String, String)]) -> Vec<String> {
    found(sources).iter().map(|(files, names)| format!("{}: {}", files.join(" "), names.join(", "))).collect()
}

#[test]
fn no_circles_of_imports() {
    for (root, arrows_min) in [("src", 200), ("loadtest/src", 100)] {
        let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root));
        let arrows = Crate::read(&sources).arrows().len();
        assert!(arrows > arrows_min, "{root}: of all arrows, {arrows} were seen");
        let circles = found(&sources);
        assert!(circles.is_empty(), "{root}: {circles:#?}");
    }
}

/// Files with these texts have these circles, each the files in it.
#[track_caller]
fn has(texts: &[(&str, &str)], circles: &[&[&str]]) {
    let sources: Vec<_> = texts.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect();
    let files: Vec<_> = found(&sources).into_iter().map(|(files, _)| files).collect();
    assert_eq!(files, circles, "{:?}", described(&sources));
}

#[test]
fn circles_are_found() {
    let ab: &[&[&str]] = &[&["net/a.rs", "net/b.rs"]];
    let maps = [("lib.rs", "pub mod net;"), ("net/mod.rs", "pub mod a;\npub mod b;\npub mod c;")];
    for (a, b) in [
        ("use super::b::B;", "use super::a::A;"),
        ("use crate::net::b::{self, B};", "pub(crate) fn f() -> crate::net::a::A {}"),
        ("use crate::{\n    hub::x,\n    net::{c::C, b::B},\n};", "use super::{c, a::*};"),
        ("use super::b;\nfn f() {\n    b::g();\n}", "use super::a as other;\nimpl other::A for B {}"),
        ("use super::b::B as Other;", "mod inner {\n    use super::super::a::A;\n}"),
        ("use super::super::net::b::B;", "type X = Option<super::a::A<'static>>;"),
        ("let x = 'x'; let q = '\"'; use super::b::B;", "let x = \"\\\"\"; super::a::f();"),
    ] {
        has(&[maps[0], maps[1], ("net/a.rs", a), ("net/b.rs", b)], ab);
        // There and not back.
        has(&[maps[0], maps[1], ("net/a.rs", a), ("net/b.rs", "use super::c::C;")], &[]);
        has(&[maps[0], maps[1], ("net/a.rs", "use super::c::C;"), ("net/b.rs", b)], &[]);
    }
}

#[test]
fn longer_circles_are_found() {
    let texts = [
        ("hub/mod.rs", "pub mod a;\npub mod b;\npub mod deep;"),
        ("hub/a.rs", "use super::b::B;"),
        ("hub/b.rs", "use super::deep::c::C;"),
        ("hub/deep/mod.rs", "pub mod c;\npub mod d;"),
        ("hub/deep/c.rs", "use super::d::D;"),
        ("hub/deep/d.rs", "use super::super::a::A;"),
    ];
    has(&texts, &[&["hub/a.rs", "hub/b.rs", "hub/deep/c.rs", "hub/deep/d.rs"]]);
    for gone in 0..texts.len() {
        let rest: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(at, &(path, text))| if at == gone { (path, "") } else { (path, text) })
            .collect();
        has(
            &rest,
            if matches!(gone, 0 | 3) { &[&["hub/a.rs", "hub/b.rs", "hub/deep/c.rs", "hub/deep/d.rs"]] } else { &[] },
        );
    }
    // Two that have a file in common are one; two that have none are two.
    let [ab, ba, ac, ca] =
        ["use super::b::B;", "use super::a::A;", "use super::b::B;\nuse super::c::C;", "use super::a::A;"];
    has(&[("a.rs", ac), ("b.rs", ba), ("c.rs", ca)], &[&["a.rs", "b.rs", "c.rs"]]);
    has(
        &[("a.rs", ab), ("b.rs", ba), ("c.rs", "use super::d::D;"), ("d.rs", "use super::c::C;")],
        &[&["a.rs", "b.rs"], &["c.rs", "d.rs"]],
    );
}

#[test]
fn what_a_map_passes_on_is_its_owners() {
    let map = ("net/mod.rs", "mod a;\npub mod b;\npub(crate) use a::A;\npub use self::b::B as Other;");
    has(&[map, ("net/a.rs", "use super::Other;"), ("net/b.rs", "use crate::net::A;")], &[&["net/a.rs", "net/b.rs"]]);
    has(&[map, ("net/a.rs", "use super::b::B;"), ("net/b.rs", "use super::c::C;")], &[]);
    // What is brought in but not passed on is an arrow of whoever brings it in.
    let folder = ("net/deep/mod.rs", "mod a;\nuse a::A;\nuse super::b::B;");
    has(&[folder, ("net/deep/a.rs", ""), ("net/b.rs", "use super::deep::X;")], &[&["net/deep/mod.rs", "net/b.rs"]]);
}

#[test]
fn what_is_no_arrow_makes_no_circle() {
    let b = ("b.rs", "use super::a::A;");
    for a in [
        "// use super::b::B;",
        "//! [`super::b::B`]",
        "#[cfg(test)]\nmod tests {\n    use super::super::b::B;\n}",
        "let text = \"use super::b::B;\";",
        "let text = r#\"\nuse super::b::B; \"\nsuper::b::f()\"#;",
        "use other::b::B;",
        "use b::B;\nmod b;",
        "use ::b::B;",
        "mod b;",
    ] {
        has(&[("a.rs", a), b], &[]);
    }
    // A file may name what the modules that hold it share.
    has(
        &[("x/mod.rs", "mod a;\nuse a::A;\npub struct X;"), ("x/a.rs", "use super::X;"), ("main.rs", "mod x;\nx::X;")],
        &[],
    );
}
