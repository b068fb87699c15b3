//! `scale`: whether a delivery costs more when there are many streams, and whether that is the kernel's doing.

use super::book::Book;
use crate::{
    Result,
    args::{Kind, Load, ScaleArgs},
    report::{Row, grouped},
};

pub(crate) fn run(args: &ScaleArgs) -> Result<()> {
    let mut book = Book::default();
    fill(args, &mut book);
    book.close()
}

pub(crate) fn fill(args: &ScaleArgs, book: &mut Book) {
    let mut cpu = |kind, streams| {
        let load = Load { streams, rate: args.rate, seconds: args.seconds, size: 100, warmup: 2 };
        book.fanout(kind, &load, &args.server).and_then(|figures| figures.cpu_us)
    };
    let floor_few = cpu(Kind::Floor, args.few);
    let gateway_few = cpu(Kind::Gateway, args.few);
    let floor_many = cpu(Kind::Floor, args.many);
    let gateway_many = cpu(Kind::Gateway, args.many);

    let measure = format!(
        "growth of CPU a delivery, {} to {} streams",
        grouped(u64::from(args.few)),
        grouped(u64::from(args.many))
    );
    let must = "≤ 1.3 × floor's growth";
    let growth = |few: Option<f64>, many: Option<f64>| few.zip(many).map(|(few, many)| (few, many, many / few));
    book.add(match (growth(floor_few, floor_many), growth(gateway_few, gateway_many)) {
        (Some(floor), Some(gateway)) => {
            let say = |(few, many, growth): (f64, f64, f64)| format!("{few:.2} → {many:.2} µs, {growth:.2} ×");
            let ratio = gateway.2 / floor.2;
            Row::new(&measure, must, say(floor), say(gateway), format!("{ratio:.2}"), ratio <= 1.3)
        }
        _ => Row::failed(&measure, must, "not measured"),
    });
}
