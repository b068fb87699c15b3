//! What processes have used, from /proc: CPU time and memory, of one or of a whole tree.

use std::{collections::HashMap, fs};

use crate::Result;

/// A process that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { user: self.user + other.user, system: self.system + other.system }
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
        // utime and stime are the 14th and 15th field.
        let mut fields = after_name(&stat).skip(11).map(str::parse::<f64>);
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

    /// All that descend from it, itself left out.
    pub(crate) fn descendants(self) -> Vec<Self> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = Self(pid).read("stat").unwrap_or_default();
            // The state and the parent follow the name.
            if let Some(Ok(parent)) = after_name(&stat).nth(1).map(str::parse) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut found = Vec::new();
        let mut parents = vec![self.0];
        while let Some(parent) = parents.pop() {
            for &child in children.get(&parent).into_iter().flatten() {
                found.push(Self(child));
                parents.push(child);
            }
        }
        found
    }

    fn read(self, file: &str) -> Result<String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.0))
            .map_err(|error| format!("process {} cannot be read ({error}): has the server ended?", self.0))
    }
}

/// A stat line's fields after the name, which stands in brackets and may hold anything.
fn after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ')
}

/// The processes of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Processes {
    /// One, and what it has started.
    With(Process),
    /// What our supervisor has started, without the supervisor.
    Below(Process),
}

impl Processes {
    pub(crate) fn all(self) -> Vec<Process> {
        match self {
            Self::With(process) => [vec![process], process.descendants()].concat(),
            Self::Below(supervisor) => supervisor.descendants(),
        }
    }

    /// CPU used so far by those that live.
    pub(crate) fn cpu(self) -> Result<Cpu> {
        self.alive()?.into_iter().try_fold(Cpu::default(), |sum, process| Ok(sum.plus(process.cpu()?)))
    }

    /// Proportional set size of all, in bytes.
    pub(crate) fn pss(self) -> Result<u64> {
        self.alive()?.into_iter().try_fold(0, |sum, process| Ok(sum + process.pss()?))
    }

    fn alive(self) -> Result<Vec<Process>> {
        let all = self.all();
        if all.is_empty() { Err("the server has ended".to_owned()) } else { Ok(all) }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn own_process_can_be_read() {
        let own = Process::own();
        assert!(own.cpu().unwrap().total() >= 0.0);
        assert!(own.pss().unwrap() > 100_000);
        assert!(Process(u32::MAX).cpu().is_err());
    }

    #[test]
    fn a_tree_is_measured_whole() {
        // A shell that waits for a child of its own.
        let mut shell = Command::new("sh").args(["-c", "cat; true"]).stdin(Stdio::piped()).spawn().unwrap();
        let root = Process(shell.id());
        while root.descendants().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(Processes::With(root).all().len(), 2);
        assert_eq!(Processes::Below(root).all().len(), 1);
        assert!(Processes::With(root).pss().unwrap() > Processes::Below(root).pss().unwrap());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(Processes::Below(root).cpu().is_err());
    }
}
