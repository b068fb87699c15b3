//! A [`Record`] as one HTML file that needs nothing else: no script, no font, no picture from elsewhere.
//!
//! [`page()`] is the page from top to bottom, [`table`] its side-by-side table, [`runs`] sets
//! beside each other what can be compared. The plots are
//! [`percentiles`], [`course`], [`columns`] and [`bars`]; what they are drawn with is [`frame`], [`axis`],
//! [`palette`], [`lettering`], [`svg`] and [`markup`]. [`comparison`] draws the side-by-side
//! table, here and for a README.

mod page;
mod table;
mod details;
mod runs;
mod percentiles;
mod course;
mod columns;
mod bars;
mod comparison;
mod frame;
mod axis;
mod figure;
mod palette;
mod lettering;
mod svg;
mod markup;
#[cfg(test)]
mod sample;

use std::{fs, path::Path};

use crate::{Result, record::Record};

pub(crate) use self::{comparison::comparison_plot, page::page};

/// The report that a command's `--json` would have made, or the plot of its table alone.
pub(crate) fn render(file: &Path, plot: bool) -> Result<String> {
    let name = file.display();
    let json = fs::read(file).map_err(|error| format!("{name}: {error}"))?;
    let record: Record =
        serde_json::from_slice(&json).map_err(|error| format!("{name} is no record of load tests: {error}"))?;
    if !plot {
        return Ok(page(&record));
    }
    comparison_plot(&record).ok_or_else(|| format!("{name} has no table with figures to plot"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_told_in_one_line() {
        let folder = std::env::temp_dir();
        let file = folder.join(format!("loadtest-no-record-{}.json", std::process::id()));
        for json in ["", "{\"runs\": 7}", "[\n1,\n2\n]"] {
            fs::write(&file, json).expect("a file");
            let problem = render(&file, false).expect_err("no record");
            assert!(problem.contains("is no record of load tests") && !problem.contains('\n'), "{problem}");
        }
        fs::write(&file, serde_json::to_vec(&Record::default()).expect("JSON")).expect("a file");
        assert!(render(&file, false).is_ok());
        assert!(render(&file, true).expect_err("no table").contains("no table"));
        fs::remove_file(&file).expect("removed");
        assert!(render(&file, false).is_err());
    }
}
