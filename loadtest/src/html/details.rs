//! What is folded away below the plots: every figure of every run, and how each server was started.

use super::{
    figure,
    markup::Markup,
    runs::{Group, distinct},
};
use crate::record::Contender;

/// A table for each group, a column for each run.
pub(super) fn figures(html: &mut Markup, groups: &[Group<'_>], open: bool) {
    if groups.is_empty() {
        return;
    }
    html.words("h2", &[], "Every figure");
    for group in groups {
        folded(html, &group.title(), open, |details| {
            details.element("div", &[("class", &"wide")], |div| table(div, group));
        });
    }
}

fn table(html: &mut Markup, group: &Group<'_>) {
    let keys = distinct(group.runs.iter().flat_map(|run| run.figures.keys().map(String::as_str)));
    html.element("table", &[], |table| {
        table.element("thead", &[], |head| {
            head.element("tr", &[], |row| {
                row.words("th", &[], "figure");
                group.runs.iter().for_each(|run| row.words("th", &[], group.name(run)));
            });
        });
        table.element("tbody", &[], |body| {
            for key in keys {
                body.element("tr", &[], |row| {
                    row.words("th", &[("title", &key)], figure::name(key));
                    for run in &group.runs {
                        let known = run.figures.get(key).filter(|figure| !figure.is_null());
                        let text = known.map_or(figure::MISSING.to_owned(), |value| figure::value(key, value));
                        let class = if known.is_some() { "" } else { "none" };
                        row.words("td", &[("class", &class)], text);
                    }
                });
            }
        });
    });
}

/// How each was started, with the files it was given.
pub(super) fn servers(html: &mut Markup, servers: &[Contender]) {
    if servers.is_empty() {
        return;
    }
    html.words("h2", &[], "How the servers were set up");
    for server in servers {
        let title = match server.version.strip_prefix(&server.name) {
            Some(_) => server.version.clone(),
            None => format!("{} {}", server.name, server.version),
        };
        folded(html, title.trim_end(), false, |details| {
            if let Some(why) = &server.missing {
                details.words("p", &[("class", &"none")], format!("Not measured: {why}"));
            }
            if !server.notes.is_empty() {
                details.element("ul", &[], |list| server.notes.iter().for_each(|note| list.words("li", &[], note)));
            }
            if !server.command.is_empty() {
                details.words("pre", &[], &server.command);
            }
            for (name, text) in &server.files {
                details.words("h4", &[], name);
                details.words("pre", &[], text);
            }
        });
    }
}

fn folded(html: &mut Markup, title: &str, open: bool, inside: impl FnOnce(&mut Markup)) {
    let open: &[(&str, &dyn std::fmt::Display)] = if open { &[("open", &"")] } else { &[] };
    html.element("details", open, |details| {
        details.words("summary", &[], title);
        inside(details);
    });
}

#[cfg(test)]
mod tests {
    use super::{
        super::{runs::groups, sample},
        *,
    };

    #[test]
    fn a_column_for_each_run_and_a_word_for_what_is_missing() {
        let mut html = Markup::default();
        figures(&mut html, &groups(&sample::record())[..1], true);
        let html = html.finish();
        assert!(html.contains("<th>figure</th><th>sluicegate, round 1</th><th>nchan</th>"), "{html}");
        assert!(
            html.contains("server CPU, each</th><td>1.50 µs</td><td class=\"none\">missing</td><td>2.50 µs</td>"),
            "{html}"
        );
    }

    #[test]
    fn a_server_is_shown_with_its_files() {
        let mut html = Markup::default();
        servers(&mut html, &sample::record().servers);
        let html = html.finish();
        for part in ["sluicegate --config a.toml", "<h4>a.toml</h4><pre>listen = []</pre>", "Not measured: not on PATH"]
        {
            assert!(html.contains(part), "{part}: {html}");
        }
    }
}
