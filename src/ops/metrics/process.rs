//! What the kernel says of the process, as metrics: `process_*`.

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, MetricFamily};
use rustix::time::{ClockId, clock_gettime};

const CPU_SECONDS: &str = "process_cpu_seconds_total";

/// The metrics of this process.
pub(super) struct Process(ProcessCollector);

impl Process {
    pub(super) fn new() -> Process {
        Process(ProcessCollector::for_self())
    }

    pub(super) fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.0.collect();
        // The collector counts whole seconds, so that a rate over a few of them is no figure.
        for family in families.iter_mut().filter(|family| family.name() == CPU_SECONDS) {
            for metric in family.mut_metric() {
                let mut counter = Counter::default();
                counter.set_value(cpu_seconds());
                metric.set_counter(counter);
            }
        }
        families
    }
}

/// The processor time of all threads, those that ended included.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_has_its_fractions() {
        let process = Process::new();
        let counted = || {
            let families = process.collect();
            let mut cpu = families.iter().filter(|family| family.name() == CPU_SECONDS);
            let (family, none) = (cpu.next().unwrap(), cpu.next());
            assert!(none.is_none() && family.get_metric().len() == 1);
            family.get_metric()[0].get_counter().get_value()
        };
        let before = counted();
        // Some 20 ms of work: other tests of this process may add to it, but not take from it.
        while cpu_seconds() < before + 0.02 {
            std::hint::spin_loop();
        }
        let after = counted();
        assert!(after >= before + 0.02 && after < before + 60.0, "{before} {after}");
    }
}
