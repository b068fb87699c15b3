//! What a process has used, from /proc: CPU time and memory.

use std::fs;

use crate::Result;

/// A process that is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process(pub(crate) u32);

/// CPU seconds since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { user: self.user - earlier.user, system: self.system - earlier.system }
    }
}

impl Process {
    pub(crate) fn own() -> Self {
        Self(std::process::id())
    }

    /// CPU used so far, in steps of the kernel's tick (10 ms).
    pub(crate) fn cpu(self) -> Result<Cpu> {
        let stat = self.read("stat")?;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        // The second field is the name in brackets and may hold anything; utime and stime are 14th and 15th.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = after_name.split(' ').skip(11).map(|field| field.parse::<f64>());
        match (fields.next(), fields.next()) {
            (Some(Ok(user)), Some(Ok(system))) => Ok(Cpu { user: user / ticks, system: system / ticks }),
            _ => Err(format!("cannot read CPU time from /proc/{}/stat", self.0)),
        }
    }

    /// Proportional set size in bytes.
    pub(crate) fn pss(self) -> Result<u64> {
        let rollup = self.read("smaps_rollup")?;
        let kib = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|kib| kib.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| format!("cannot read Pss from /proc/{}/smaps_rollup", self.0))
    }

    fn read(self, file: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.0))
            .map_err(|error| format!("process {} cannot be read ({error}): has the server ended?", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_can_be_read() {
        let own = Process::own();
        assert!(own.cpu().unwrap().total() >= 0.0);
        assert!(own.pss().unwrap() > 100_000);
        assert!(Process(u32::MAX).cpu().is_err());
    }
}
