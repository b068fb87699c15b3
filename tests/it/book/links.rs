//! Links within the repository.

use std::path::{Component, Path, PathBuf};

use super::{lines, pages, read, repository};

/// What the links of a page lead to, with the lines that they are on. References and images count.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line, fenced) in lines(text) {
        if fenced {
            continue;
        }
        let line = without_code(line);
        for (at, _) in line.match_indices("](") {
            let target = line[at + 2..].split(')').next().unwrap_or_default();
            found.push((number, target.to_owned()));
        }
        if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            found.push((number, target.trim().to_owned()));
        }
    }
    found
}

/// A line without what is in backticks.
fn without_code(line: &str) -> String {
    line.split('`').enumerate().map(|(n, part)| if n % 2 == 0 { part } else { "_" }).collect()
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

fn anchors(text: &str) -> Vec<String> {
    let headings = lines(text).filter(|(_, line, fenced)| !fenced && line.starts_with('#'));
    headings.map(|(_, line, _)| anchor(line.trim_start_matches('#'))).collect()
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// Why the link leads nowhere.
fn fault(page: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, name) = target.split_once('#').map_or((target, None), |(path, name)| (path, Some(name)));
    let file = match path {
        "" => PathBuf::from(page),
        _ => plain(&Path::new(page).parent().expect("a folder").join(path)),
    };
    if !repository().join(&file).exists() {
        return Some(format!("{} is not there", file.display()));
    }
    let name = name?;
    let known = anchors(&read(&file.to_string_lossy()));
    (!known.iter().any(|anchor| anchor == name)).then(|| format!("{} has no heading #{name}", file.display()))
}

#[test]
fn links_lead_somewhere() {
    let pages = pages(&["docs", "grafana", "deploy", "loadtest", "examples", ".github"]);
    assert!(pages.iter().any(|page| page == "README.md") && pages.iter().any(|page| page == "docs/tutorial.md"));
    let mut faults = Vec::new();
    for page in pages {
        for (line, target) in links(&read(&page)) {
            faults.extend(fault(&page, &target).map(|fault| format!("{page}:{line}: {target}: {fault}")));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn links_are_found_and_faults_are_seen() {
    let text = "# A `b` c!\n[x](y.md#z) and ![p](q.svg)\n```\n[no](no)\n```\n`[no](no)`\n[r]: https://example.com\n";
    let found: Vec<_> = links(text).into_iter().map(|(line, target)| format!("{line} {target}")).collect();
    assert_eq!(found, ["2 y.md#z", "2 q.svg", "7 https://example.com"]);
    assert_eq!(anchors(text), ["a-b-c"]);
    assert_eq!(fault("docs/http.md", "../README.md"), None);
    assert_eq!(fault("docs/http.md", "#gaps"), None);
    assert_eq!(fault("docs/http.md", "nothing.md").as_deref(), Some("docs/nothing.md is not there"));
    assert_eq!(fault("README.md", "docs/http.md#no").as_deref(), Some("docs/http.md has no heading #no"));
}
