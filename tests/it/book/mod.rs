//! What people read: that its links lead somewhere, its parts are whole, and its blocks do what they say.

mod blocks;
mod links;
mod messages;

use std::fs;
use std::path::{Path, PathBuf};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn read(file: &str) -> String {
    fs::read_to_string(repository().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The Markdown files of these folders, with their paths from the repository's root.
fn pages(folders: &[&str]) -> Vec<String> {
    fn walk(folder: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != "node_modules" && name != "python_modules" && name != "target" {
                    walk(&path, into);
                }
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let path = path.strip_prefix(repository()).expect("below the root");
                into.push(path.to_string_lossy().into_owned());
            }
        }
    }
    let mut pages: Vec<String> = Vec::new();
    for entry in fs::read_dir(repository()).expect("the root").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            pages.push(name);
        }
    }
    folders.iter().for_each(|folder| walk(&repository().join(folder), &mut pages));
    pages.sort();
    pages
}

/// Lines with their numbers, and whether each is within a fenced block or is its fence.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    let mut fenced = false;
    text.lines().zip(1..).map(move |(line, number)| {
        let fence = line.trim_start().starts_with("```");
        let within = fenced || fence;
        fenced ^= fence;
        (number, line, within)
    })
}

#[test]
fn readme_is_read_in_one_sitting() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 150, "README.md has {lines} lines");
}

/// The book has a place for each page, and its contents name no other.
#[test]
fn the_contents_list_every_page_once() {
    let contents = read("docs/SUMMARY.md");
    for page in pages(&["docs"]).iter().filter_map(|page| page.strip_prefix("docs/")) {
        let times = contents.matches(&format!("]({page})")).count();
        assert_eq!(times, usize::from(page != "SUMMARY.md"), "docs/SUMMARY.md, {page}");
    }
}

/// The figure is drawn by hand: its numbers are those of the table.
#[test]
fn the_figures_numbers_are_measured_ones() {
    let (figure, table) = (read("docs/figures.svg"), read("docs/benchmarks.md"));
    let description =
        figure.split("<desc").nth(1).and_then(|rest| rest.split("</desc>").next()).expect("a description");
    let labels =
        figure.lines().filter(|line| !line.contains("desc") && line.contains("<rect x=\"") && line.contains("<text"));
    let mut found = 0;
    for label in labels {
        let label = label.rsplit("\">").next().and_then(|rest| rest.strip_suffix("</text>")).expect("a label");
        assert!(table.contains(label), "docs/benchmarks.md does not have {label:?}");
        assert!(description.contains(label), "the description does not have {label:?}");
        found += 1;
    }
    assert!(found >= 12, "{found} labels");
}
