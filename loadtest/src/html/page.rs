//! The page from top to bottom: what was asked of which machine, what was wrong, the table, the plots, the details.

use super::{
    bars::{Panel, Sheet},
    columns, comparison, course, details, figure,
    markup::Markup,
    palette::{self, Palette},
    percentiles,
    runs::{self, Group},
    svg, table,
};
use crate::record::Record;

/// The width of the page's text and plots.
const WIDTH: f64 = 1120.0;
const GAP: f64 = 20.0;

/// One file that needs nothing else. Whoever opens it need not trust it either: its policy forbids scripts and
/// requests.
pub(crate) fn page(record: &Record) -> String {
    let groups = runs::groups(record);
    let palette = Palette::of_record(record);
    let scenarios = runs::distinct(groups.iter().map(|group| group.scenario)).join(", ");
    let title = if scenarios.is_empty() { "Load test".to_owned() } else { format!("Load test: {scenarios}") };
    let style = include_str!("page.css").to_owned() + include_str!("plot.css") + &palette::css();
    let policy = "default-src 'none'; style-src 'unsafe-inline'";

    let mut html = Markup::default();
    html.verbatim("<!doctype html>");
    html.element("html", &[("lang", &"en")], |html| {
        html.element("head", &[], |head| {
            head.leaf("meta", &[("charset", &"utf-8")]);
            head.leaf("meta", &[("http-equiv", &"Content-Security-Policy"), ("content", &policy)]);
            head.leaf("meta", &[("name", &"viewport"), ("content", &"width=device-width")]);
            head.leaf("meta", &[("name", &"color-scheme"), ("content", &"light dark")]);
            head.words("title", &[], format!("{title} · {}", record.began));
            head.element("style", &[], |css| css.verbatim(&style));
        });
        html.element("body", &[], |body| {
            body.words("h1", &[], &title);
            facts(body, record);
            problems(body, &groups);
            side_by_side(body, record, &palette);
            cpu(body, &groups, &palette);
            memory(body, &groups, &palette);
            latency(body, &groups, &palette);
            courses(body, &groups, &palette);
            details::figures(body, &groups, record.table.is_none());
            details::servers(body, &record.servers);
        });
    });
    html.finish() + "\n"
}

fn facts(html: &mut Markup, record: &Record) {
    let fact = |list: &mut Markup, name: &str, class: &str, text: &str| {
        if !text.is_empty() {
            list.words("dt", &[], name);
            list.words("dd", &[("class", &class)], text);
        }
    };
    let machine = &record.machine;
    let described = [
        machine.cpu.clone(),
        format!("{} cores", machine.cores),
        format!("{} of memory", figure::bytes(machine.memory_bytes as f64)),
        machine.kernel.clone(),
    ];
    let servers: Vec<_> = record.servers.iter().filter(|server| server.missing.is_none()).collect();
    let servers = servers.iter().map(|server| format!("{} {}", server.name, server.version).trim_end().to_owned());
    let missing = record.servers.iter().filter_map(|server| Some((&server.name, server.missing.as_ref()?)));
    let missing: Vec<_> = missing.map(|(name, why)| format!("{name} ({why})")).collect();
    html.element("dl", &[], |list| {
        fact(list, "Command", "code", &record.command);
        if machine.cores > 0 {
            fact(
                list,
                "Machine",
                "",
                &described.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", "),
            );
        }
        fact(list, "Began", "", &record.began);
        fact(list, "Servers", "", &servers.collect::<Vec<_>>().join(" · "));
        fact(list, "Not measured", "", &missing.join(" · "));
    });
}

fn problems(html: &mut Markup, groups: &[Group<'_>]) {
    let runs = || groups.iter().flat_map(|group| group.runs.iter().map(move |run| (group, *run)));
    let wrong: Vec<_> = runs().filter(|(_, run)| !run.problems.is_empty()).collect();
    if wrong.is_empty() {
        return;
    }
    html.element("section", &[("class", &"problems")], |section| {
        section.words("h2", &[], format!("{} of {} runs were not right", wrong.len(), runs().count()));
        section.element("ul", &[], |list| {
            for (group, run) in &wrong {
                list.element("li", &[], |item| {
                    item.words("b", &[], group.name(run));
                    item.text(format!(", {}", group.title()));
                    for problem in &run.problems {
                        item.words("div", &[], problem);
                    }
                });
            }
        });
    });
}

fn side_by_side(html: &mut Markup, record: &Record, palette: &Palette) {
    let Some(table) = record.table.as_ref().filter(|table| !table.rows.is_empty()) else { return };
    html.words("h2", &[], "Side by side");
    table::table(html, table, palette);
    multiples(html, "Side by side", &comparison::panels(table, table.rows.iter(), palette));
}

fn cpu(html: &mut Markup, groups: &[Group<'_>], palette: &Palette) {
    let charts = runs::by_rate(groups, "cpu_us", palette);
    // One bar alone compares nothing: it stands among the figures.
    let charts = charts.iter().filter(|(_, columns)| {
        let bars: Vec<_> = columns.iter().flat_map(|(_, bars)| bars).collect();
        bars.len() > 1 && bars.iter().any(|bar| !bar.values.is_empty())
    });
    for (n, (shared, columns)) in charts.enumerate() {
        if n == 0 {
            html.words("h2", &[], "CPU per delivery, by rate");
            note(
                html,
                "User and system time of the server's processes. Where there were rounds, dots are rounds and the bar \
                 ends at their median.",
            );
        }
        html.words("h3", &[], shared);
        let what = format!("Server CPU per delivery by rate, {shared}");
        columns::plot(html, &what, "µs of CPU per delivery · less is better", columns, WIDTH);
    }
}

fn memory(html: &mut Markup, groups: &[Group<'_>], palette: &Palette) {
    let mut panels = Vec::new();
    for group in groups {
        let keys = group.runs.iter().flat_map(|run| run.figures.keys().map(String::as_str));
        for key in runs::distinct(keys.filter(|key| key.ends_with("bytes_per_stream"))) {
            let bars: Vec<_> = group.servers().iter().map(|server| group.bar(server, key, palette)).collect();
            let title = format!("{}: {}", group.scenario, figure::name(key));
            panels.push(Panel { title, note: format!("{} · less is better", group.settings()), bars });
        }
    }
    panels.retain(|panel| panel.has_figures() && panel.bars.len() > 1);
    if !panels.is_empty() {
        html.words("h2", &[], "Memory per stream");
        note(html, "Growth of the server's proportional set size; the kernel's memory for sockets is not in it.");
        multiples(html, "Memory per stream", &panels);
    }
}

fn latency(html: &mut Markup, groups: &[Group<'_>], palette: &Palette) {
    let with = groups.iter().filter(|group| group.runs.iter().any(|run| !run.percentiles.is_empty()));
    let with: Vec<_> = with.collect();
    if with.is_empty() {
        return;
    }
    html.words("h2", &[], "Latency by percentile");
    note(
        html,
        "From the time an event was due until a stream had it. Each step to the right is a tenfold rarer delivery.",
    );
    let width = column_width(with.len().min(2));
    html.element("div", &[("class", &"plots")], |plots| {
        for group in with {
            plots.element("figure", &[], |html| {
                html.words("figcaption", &[], group.title());
                if !percentiles::plot(html, group, palette, width) {
                    html.words("p", &[("class", &"note")], "No delivery took any time.");
                }
            });
        }
    });
}

fn courses(html: &mut Markup, groups: &[Group<'_>], palette: &Palette) {
    let with = groups.iter().filter_map(|group| Some((group, course::Scales::of(group)?)));
    for (n, (group, scales)) in with.enumerate() {
        if n == 0 {
            html.words("h2", &[], "Over time");
            note(
                html,
                "Latency of the events due in each piece of the run: p99 the strong line, p50 the thin one, rings the greatest. \
                 A line is interrupted where no event was due. Plots of one heading have the same axes.",
            );
        }
        html.words("h3", &[], group.title());
        let width = column_width(group.runs.len().min(4));
        html.element("div", &[("class", &"plots")], |plots| {
            for run in &group.runs {
                plots.element("figure", &[], |html| course::plot(html, group, run, &scales, palette, width));
            }
        });
    }
}

fn multiples(html: &mut Markup, what: &str, panels: &[Panel]) {
    if panels.is_empty() {
        return;
    }
    let sheet = Sheet { panels, columns: panels.len().clamp(2, 4), width: WIDTH };
    svg::picture(html, what, (WIDTH, sheet.height() + 8.0), |svg| sheet.draw(svg, (0.0, 4.0)));
}

fn column_width(columns: usize) -> f64 {
    ((WIDTH - (columns - 1) as f64 * GAP) / columns as f64).floor()
}

fn note(html: &mut Markup, text: &str) {
    html.words("p", &[("class", &"note")], text);
}

#[cfg(test)]
mod tests {
    use super::{
        super::{markup::tests::assert_well_formed, sample},
        *,
    };

    #[test]
    fn a_whole_page_is_well_formed_and_needs_nothing_else() {
        let html = page(&sample::record());
        assert_well_formed(&html);
        for outside in ["http://", "https://", "src=", "href=", "url(", "@import", "<script", "<link"] {
            assert!(!html.contains(outside), "{outside}");
        }
        for inside in
            ["Side by side", "CPU per delivery, by rate", "Memory per stream", "Latency by percentile", "Over time"]
        {
            assert!(html.contains(&format!("<h2>{inside}</h2>")), "{inside}");
        }
        assert!(!html.contains("NaN") && !html.contains("inf\""));
        assert!(!html.contains("were not right"));
    }

    #[test]
    fn nothing_in_a_record_becomes_markup() {
        let hostile = "\"'><script>alert(1)</script><!--";
        let mut record = sample::record();
        record.command = hostile.to_owned();
        record.machine.cpu = hostile.to_owned();
        for server in &mut record.servers {
            server.name = hostile.to_owned();
            server.files.push((hostile.to_owned(), hostile.to_owned()));
            server.notes.push(hostile.to_owned());
            server.missing = Some(hostile.to_owned());
        }
        for run in &mut record.runs {
            run.scenario = hostile.to_owned();
            run.server = hostile.to_owned();
            run.problems.push(hostile.to_owned());
            run.settings.insert(hostile.to_owned(), hostile.into());
            run.figures.insert(hostile.to_owned(), hostile.into());
        }
        if let Some(table) = &mut record.table {
            table.columns[0] = hostile.to_owned();
            for row in &mut table.rows {
                row.measure = format!("CPU {hostile}");
                row.unit = hostile.to_owned();
                row.cells[0].text = hostile.to_owned();
                row.target = Some((hostile.to_owned(), true));
            }
        }
        for html in [page(&record), comparison::comparison_plot(&record).expect("a table")] {
            assert_well_formed(&html);
            assert!(!html.contains("<script") && !html.contains("<!--"));
        }
        assert!(page(&record).contains("&lt;script&gt;"));
    }

    #[test]
    fn problems_stand_before_everything_that_is_measured() {
        let mut record = sample::record();
        record.runs[1].problems.push("12 deliveries are missing".to_owned());
        let html = page(&record);
        let at = |text: &str| html.find(text).unwrap_or_else(|| panic!("{text}"));
        assert!(at("1 of 6 runs were not right") < at("12 deliveries are missing"));
        assert!(at("12 deliveries are missing") < at("Side by side"));
        assert!(html.contains("<tspan class=\"bad\" dx=\"6\">had problems</tspan>"));
    }

    #[test]
    fn parts_without_data_are_left_out() {
        let empty = page(&Record::default());
        assert_well_formed(&empty);
        assert!(!empty.contains("<h2>") && !empty.contains("<svg"), "{empty}");

        let mut record = sample::record();
        record.table = None;
        for run in &mut record.runs {
            (run.course, run.percentiles) = (Vec::new(), Vec::new());
            run.figures.values_mut().for_each(|figure| *figure = serde_json::Value::Null);
        }
        let html = page(&record);
        assert_well_formed(&html);
        assert!(!html.contains("<svg"), "{html}");
        assert!(html.contains("<td class=\"none\">missing</td>"), "{html}");
    }
}
