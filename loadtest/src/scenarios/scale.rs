//! `scale`: whether a delivery costs more when there are many streams, and whether that is the kernel's doing.

use super::{book::Book, fanout};
use crate::{
    Result,
    args::{Load, ScaleArgs, defaults},
    record::{Cell, TableRow},
    report::grouped,
    server::Target,
};

pub(crate) fn fill(args: &ScaleArgs, target: &Target, book: &mut Book) -> Result<()> {
    let floor = Target::built_in("floor")?;
    let mut cpu = |target: &Target, streams| {
        let load = Load { streams, rate: args.rate, seconds: args.seconds, ..defaults() };
        book.take("fanout", target, fanout::measure(&load, target)).and_then(|outcome| outcome.figures.cpu_us)
    };
    let floor_few = cpu(&floor, args.few);
    let server_few = cpu(target, args.few);
    let floor_many = cpu(&floor, args.many);
    let server_many = cpu(target, args.many);

    let measure = format!(
        "growth of CPU per delivery, {} to {} streams",
        grouped(u64::from(args.few)),
        grouped(u64::from(args.many))
    );
    let must = "≤ 1.3 × floor's growth";
    let growth = |few: Option<f64>, many: Option<f64>| few.zip(many).map(|(few, many)| (few, many, many / few));
    book.add(match (growth(floor_few, floor_many), growth(server_few, server_many)) {
        (Some(floor), Some(server)) => {
            let say = |(few, many, growth): (f64, f64, f64)| {
                Cell::of(growth, format!("{few:.2} → {many:.2} µs, {growth:.2} ×"))
            };
            let ratio = server.2 / floor.2;
            let cells = vec![say(floor), say(server), Cell::of(ratio, format!("{ratio:.2}"))];
            TableRow::new(&measure, "×", cells, Some((must.to_owned(), ratio <= 1.3)))
        }
        _ => TableRow::failed(&measure, must),
    });
    Ok(())
}
