//! The side-by-side table as small multiples: a panel for each measure, a bar for each server.

use super::{
    bars::{Bar, Panel, Sheet},
    figure, lettering,
    markup::{Markup, Px},
    palette::{self, Palette},
    runs::distinct,
    svg,
};
use crate::record::{Cell, Record, Table, TableRow};

/// What a README's reader compares servers by; the page shows every measure.
const MAIN: [&str; 5] = ["cpu", "memory", "storm", "resume", "highest rate"];
/// Of a README's column, with room for a card's edge.
const WIDTH: f64 = 880.0;
const EDGE: f64 = 20.0;
const LABEL: f64 = 11.0;

/// The main measures of the record's table as an SVG file of its own; `None` if there is nothing to draw.
pub(crate) fn comparison_plot(record: &Record) -> Option<String> {
    let table = record.table.as_ref()?;
    let palette = Palette::of_record(record);
    let is_main = |row: &&TableRow| MAIN.iter().any(|word| row.measure.to_lowercase().contains(word));
    let main: Vec<&TableRow> = table.rows.iter().filter(is_main).collect();
    let mut panels = panels(table, main.into_iter(), &palette);
    if panels.is_empty() {
        panels = self::panels(table, table.rows.iter(), &palette);
    }
    if panels.is_empty() {
        return None;
    }
    let sheet = Sheet { panels: &panels, columns: panels.len().min(3), width: WIDTH - 2.0 * EDGE };
    let notes = lettering::wrap(&footnote(record, table, &panels), LABEL, sheet.width, 3);
    let height = EDGE * 2.0 + sheet.height() + 10.0 + notes.len() as f64 * 15.0;

    let mut svg = Markup::default();
    let (width, height) = (Px(WIDTH), Px(height));
    let view = format!("0 0 {width} {height}");
    svg.element(
        "svg",
        &[
            ("xmlns", &"http://www.w3.org/2000/svg"),
            ("role", &"img"),
            ("aria-label", &"Servers side by side"),
            ("width", &width),
            ("height", &height),
            ("viewBox", &view),
        ],
        |svg| {
            svg.words("desc", &[], in_words(&panels));
            svg.element("style", &[], |style| style.verbatim(&(include_str!("plot.css").to_owned() + &palette::css())));
            // Its own background: the page around it may be dark while the reader's system is light.
            svg::rect(svg, (0.5, 0.5), (WIDTH - 1.0, height.0 - 1.0), "card");
            sheet.draw(svg, (EDGE, EDGE - 4.0));
            for (n, note) in notes.iter().rev().enumerate() {
                svg::words(svg, (EDGE, height.0 - EDGE + 4.0 - n as f64 * 15.0), "dim", note);
            }
        },
    );
    Some(svg.finish() + "\n")
}

/// One for each of `rows` that has a figure; servers without any figure in them are left out of all.
pub(super) fn panels<'a>(table: &Table, rows: impl Iterator<Item = &'a TableRow>, palette: &Palette) -> Vec<Panel> {
    let figure = |cell: &Cell| cell.value.filter(|value| value.is_finite());
    let figures = |row: &TableRow| !row.unit.is_empty() && row.cells.iter().any(|cell| figure(cell).is_some());
    let rows: Vec<&TableRow> = rows.filter(|row| figures(row)).collect();
    let shown = |column: usize| rows.iter().any(|row| row.cells.get(column).and_then(figure).is_some());
    let panel = |row: &TableRow| {
        let cells = table.columns.iter().zip(&row.cells).enumerate().filter(|(column, _)| shown(*column));
        let bar = |(_, (name, cell)): (usize, (&String, &Cell))| Bar {
            name: name.clone(),
            class: palette.class(name),
            values: figure(cell).into_iter().collect(),
            text: if cell.text.is_empty() { figure::MISSING.to_owned() } else { cell.text.clone() },
            faulty: false,
        };
        Panel { title: row.measure.clone(), note: note(&row.unit), bars: cells.map(bar).collect() }
    };
    rows.iter().map(|row| panel(row)).collect()
}

/// The unit, and which way is better.
pub(super) fn note(unit: &str) -> String {
    match unit {
        "µs" | "ms" | "s" | "bytes" | "B" | "kB" | "KB" | "KiB" | "MiB" => format!("{unit} · less is better"),
        unit if unit.ends_with("/s") => format!("{unit} · more is better"),
        unit => unit.to_owned(),
    }
}

/// Where it was measured, and who was not.
fn footnote(record: &Record, table: &Table, panels: &[Panel]) -> String {
    let machine = &record.machine;
    let mut notes = Vec::new();
    if !machine.cpu.is_empty() {
        let memory = figure::bytes(machine.memory_bytes as f64);
        notes.push(format!("{}, {} cores, {memory}, {}", machine.cpu, machine.cores, machine.kernel));
    }
    notes.extend(record.began.get(..10).map(str::to_owned));
    let drawn = |name: &str| panels.iter().flat_map(|panel| &panel.bars).any(|bar| bar.name == name);
    let columns = table.columns.iter().map(String::as_str);
    let absent = distinct(columns.filter(|name| !drawn(name)));
    if !absent.is_empty() {
        notes.push(format!("not measured: {}", absent.join(", ")));
    }
    notes.join(" · ")
}

/// All of it, for those who cannot see it.
fn in_words(panels: &[Panel]) -> String {
    let panel = |panel: &Panel| {
        let bars: Vec<_> = panel.bars.iter().map(|bar| format!("{} {}", bar.name, bar.text)).collect();
        format!("{} ({}): {}.", panel.title, panel.note, bars.join(", "))
    };
    panels.iter().map(panel).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{markup::tests::assert_well_formed, sample},
        *,
    };

    #[test]
    fn the_main_measures_are_drawn_and_what_is_missing_is_said() {
        let svg = comparison_plot(&sample::record()).expect("a table");
        assert_well_formed(&svg);
        assert!(svg.contains("CPU per delivery at 100 events/s") && svg.contains("µs · less is better"), "{svg}");
        assert!(svg.contains("class=\"none\">missing: no replay</text>"), "{svg}");
        assert!(!svg.contains("latency p99"), "no main measure");
        assert!(svg.contains("not measured: mercure"), "{svg}");
        assert!(svg.contains("prefers-color-scheme:dark"), "{svg}");
        // Three measures of two servers, one of them missing.
        assert_eq!(svg.matches(" fill\"").count(), 5);
    }

    #[test]
    fn nothing_to_draw_is_no_plot() {
        let record = Record { table: None, ..sample::record() };
        assert!(comparison_plot(&record).is_none());
        let record = Record { table: Some(Table::default()), ..record };
        assert!(comparison_plot(&record).is_none());
    }

    #[test]
    fn other_measures_are_drawn_if_there_is_no_main_one() {
        let mut record = sample::record();
        if let Some(table) = &mut record.table {
            table.rows.retain(|row| row.measure.starts_with("latency"));
        }
        assert!(comparison_plot(&record).expect("a plot").contains("latency p99"));
    }
}
