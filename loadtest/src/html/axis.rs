//! Where a value stands on a plot, and which values are named beside it: 1, 2, 5, 10…

/// A range of values laid on a range of pixels; `start` may be beyond `end`, as it is on an upright axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    log: bool,
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Exactly from `low` to `high`.
    pub(super) fn linear(low: f64, high: f64, (start, end): (f64, f64)) -> Self {
        Self { log: false, low, high: if high > low && high.is_finite() { high } else { low + 1.0 }, start, end }
    }

    /// From zero to the tick at or above `most`, with about `ticks` of them.
    pub(super) fn from_zero(most: f64, ticks: usize, pixels: (f64, f64)) -> Self {
        let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
        let step = step(most, ticks);
        Self::linear(0.0, (most / step - 1e-9).ceil() * step, pixels)
    }

    /// Exactly from `low` to `high`, both above zero; each factor of ten as wide as the next.
    pub(super) fn log(low: f64, high: f64, pixels: (f64, f64)) -> Self {
        Self { log: true, ..Self::linear(low, high.max(low * 10.0), pixels) }
    }

    /// Logarithmic, from the 1, 2 or 5 at or below the least of `values` to that at or above the greatest. Zero has
    /// no place on it: it stands at the low end, and does not pull the range down.
    pub(super) fn log_around(values: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Option<Self> {
        let range =
            values.filter(|value| *value > 0.0 && value.is_finite()).fold(None, |range: Option<(f64, f64)>, value| {
                let (least, most) = range.unwrap_or((value, value));
                Some((least.min(value), most.max(value)))
            });
        range.map(|(least, most)| {
            let low = one_two_five(least.log10().floor() as i32, 2).rev().find(|tick| *tick <= least * (1.0 + 1e-9));
            let high = one_two_five(most.log10().floor() as i32, 2).find(|tick| *tick >= most * (1.0 - 1e-9));
            Self::log(low.unwrap_or(least), high.unwrap_or(most), pixels)
        })
    }

    /// The pixel of a value; one beyond an end stands at that end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.start + share.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// The values to name: at most about `wanted`.
    pub(super) fn ticks(&self, wanted: usize) -> Vec<f64> {
        let slack = (self.high - self.low) * 1e-9;
        if !self.log {
            let step = step(self.high - self.low, wanted);
            let first = (self.low / step - 1e-9).ceil() as i64;
            return (first..).map(|n| n as f64 * step).take_while(|tick| *tick <= self.high + slack).collect();
        }
        let (from, to) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let within = |tick: &f64| *tick >= self.low * (1.0 - 1e-9) && *tick <= self.high + slack;
        let all: Vec<f64> = one_two_five(from, to - from + 1).filter(within).collect();
        if all.len() <= wanted {
            return all;
        }
        // Only powers of ten, and only every second or third if even they are too many.
        let tens: Vec<f64> = (from..=to).map(|power| 10_f64.powi(power)).filter(within).collect();
        let every = tens.len().div_ceil(wanted.max(1)).max(1);
        tens.into_iter().step_by(every).collect()
    }
}

/// The least 1, 2 or 5 times a power of ten of which at most `parts` make `span`.
fn step(span: f64, parts: usize) -> f64 {
    let least = span / parts.max(1) as f64;
    let power = least.log10().floor() as i32;
    one_two_five(power, 2).find(|step| *step >= least * (1.0 - 1e-9)).unwrap_or(least)
}

fn one_two_five(power: i32, decades: i32) -> impl DoubleEndedIterator<Item = f64> {
    (power..power + decades).flat_map(|power| {
        // A negative power is divided by, not multiplied with: 5 / 10 is 0.5, while 5 × 0.1 need not be.
        [1.0, 2.0, 5.0].map(|digit| if power < 0 { digit / 10_f64.powi(-power) } else { digit * 10_f64.powi(power) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round() {
        let ticks = |most, wanted| Axis::from_zero(most, wanted, (0.0, 100.0)).ticks(wanted);
        assert_eq!(ticks(9.3, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(137.0, 4), [0.0, 50.0, 100.0, 150.0]);
        assert_eq!(ticks(1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(0.0, 2), [0.0, 0.5, 1.0]);
    }

    #[test]
    fn logarithmic_ticks_are_one_two_five_or_tens() {
        let ticks = |least, most, wanted| {
            Axis::log_around([least, most].into_iter(), (0.0, 100.0)).expect("positive values").ticks(wanted)
        };
        assert_eq!(ticks(0.3, 8.0, 8), [0.2, 0.5, 1.0, 2.0, 5.0, 10.0]);
        assert_eq!(ticks(0.3, 4_100.0, 6), [1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!(ticks(1.0, 1e6, 4), [1.0, 100.0, 10_000.0, 1_000_000.0]);
        assert_eq!(ticks(2.0, 2.0, 8), [2.0, 5.0, 10.0, 20.0]);
    }

    #[test]
    fn values_have_their_pixel() {
        let upright = Axis::linear(0.0, 50.0, (200.0, 100.0));
        assert_eq!([0.0, 25.0, 50.0, 99.0].map(|value| upright.at(value)), [200.0, 150.0, 100.0, 100.0]);
        let log = Axis::log(1.0, 1_000.0, (0.0, 300.0));
        assert_eq!([0.0, 1.0, 10.0, 1_000.0].map(|value| log.at(value).round()), [0.0, 0.0, 100.0, 300.0]);
    }

    #[test]
    fn nothing_positive_has_no_logarithm() {
        assert!(Axis::log_around([].into_iter(), (0.0, 1.0)).is_none());
        assert!(Axis::log_around([0.0, -1.0, f64::INFINITY, f64::NAN].into_iter(), (0.0, 1.0)).is_none());
    }

    #[test]
    fn what_is_no_number_ends_no_axis() {
        for most in [f64::INFINITY, f64::NAN, -1.0] {
            assert_eq!(Axis::from_zero(most, 2, (0.0, 1.0)).ticks(2), [0.0, 0.5, 1.0]);
        }
    }
}
