//! The side-by-side table: measures as rows, servers as columns, what had to be reached beside them.

use super::{figure, markup::Markup, palette::Palette};
use crate::record::{Cell, Table, TableRow};

pub(super) fn table(html: &mut Markup, table: &Table, palette: &Palette) {
    let has_targets = table.rows.iter().any(|row| row.target.is_some());
    let (said_once, columns): (Vec<_>, Vec<_>) = table
        .columns
        .iter()
        .enumerate()
        .map(|(n, name)| (n, name, same_in_all(table, n)))
        .partition(|of| of.2.is_some());
    html.element("div", &[("class", &"wide")], |div| {
        div.element("table", &[], |html| {
            html.element("thead", &[], |head| {
                head.element("tr", &[], |row| {
                    row.words("th", &[], "measure");
                    for (_, name, _) in &columns {
                        row.element("th", &[], |th| {
                            th.words("i", &[("class", &format!("swatch {}", palette.class(name)))], "");
                            th.text(name);
                        });
                    }
                    if has_targets {
                        row.words("th", &[("class", &"target")], "to be reached");
                    }
                });
            });
            html.element("tbody", &[], |body| {
                for line in &table.rows {
                    body.element("tr", &[], |row| {
                        measure(row, line);
                        columns.iter().for_each(|(n, ..)| cell(row, line.cells.get(*n), line.unit.is_empty()));
                        if has_targets {
                            row.element("td", &[("class", &"target")], |td| target(td, line.target.as_ref()));
                        }
                    });
                }
            });
        });
        for (_, name, text) in said_once {
            div.words("p", &[("class", &"none")], format!("{name}: {}", text.unwrap_or_default()));
        }
    });
}

/// What a server that was not measured has in every row: that need not take a column.
fn same_in_all(table: &Table, column: usize) -> Option<&str> {
    let mut cells = table.rows.iter().map(|row| row.cells.get(column));
    let first = cells.next()??;
    let same = |cell: Option<&Cell>| cell.is_some_and(|cell| cell.value.is_none() && cell.text == first.text);
    (first.value.is_none() && table.rows.len() > 1 && cells.all(same)).then_some(first.text.as_str())
}

fn measure(row: &mut Markup, line: &TableRow) {
    row.element("th", &[], |th| {
        th.text(&line.measure);
        if !line.unit.is_empty() {
            th.words("small", &[], format!(" {}", line.unit));
        }
    });
}

/// `words`: a row that has no figures has a word in every cell, and none of them is for want of one.
fn cell(row: &mut Markup, cell: Option<&Cell>, words: bool) {
    let text = cell.map_or("", |cell| &cell.text);
    let class = if words || cell.is_some_and(|cell| cell.value.is_some()) { "" } else { "none" };
    row.words("td", &[("class", &class)], if text.is_empty() { figure::MISSING } else { text });
}

fn target(td: &mut Markup, target: Option<&(String, bool)>) {
    if let Some((must, reached)) = target {
        td.text(format!("{must} "));
        let (class, word) = if *reached { ("good", "reached") } else { ("bad", "short") };
        td.words("b", &[("class", &class)], word);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    #[test]
    fn a_row_tells_figures_what_is_missing_and_its_target() {
        let record = sample::record();
        let mut html = Markup::default();
        table(&mut html, record.table.as_ref().expect("a table"), &Palette::of_record(&record));
        let html = html.finish();
        let row = "storm: the last is whole<small> s</small></th><td>0.9</td>\
                   <td class=\"none\">missing: no replay</td>\
                   <td class=\"target\">≤ 0.5 × nchan <b class=\"bad\">short</b></td></tr>";
        assert!(html.contains(row), "{html}");
        // Not measured at all: told once, under the table.
        assert_eq!(html.matches("mercure").count(), 1);
        assert!(html.contains("<p class=\"none\">mercure: missing: not on PATH</p>"), "{html}");
    }

    #[test]
    fn short_rows_are_filled() {
        let record = sample::record();
        let mut short = record.table.clone().expect("a table");
        short.rows[0].cells.truncate(1);
        let mut html = Markup::default();
        table(&mut html, &short, &Palette::of_record(&record));
        assert!(html.finish().contains("<td class=\"none\">missing</td>"));
    }
}
