//! `sluicegate log verify DIR`: what a log's files hold, and what is wrong with them.
//!
//! It changes nothing and needs no lock, so it may run beside a gateway.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::io::Io;
pub use super::walk::{Fault, Severity};
use super::walk::{Met, walk};
use crate::hub::id::Epoch;

/// The exit status of the commands where a directory can't be read, and of bad usage.
pub const CANT_LOOK: u8 = 4;
/// The exit status where a directory holds no log.
pub const NO_LOG: u8 = 5;

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The file.
    pub file: PathBuf,
    /// Its first sequence.
    pub first: u64,
    /// Its newest readable pack; one less than `first` if there is none.
    pub last: u64,
    /// Readable packs.
    pub packs: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The times of the oldest and of the newest event, in milliseconds since 1970.
    pub times_ms: Option<(u64, u64)>,
    /// Whether it was ended in order.
    pub sealed: bool,
}

/// What a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// The log's epoch, if there is a segment.
    pub epoch: Option<Epoch>,
    /// Its segments.
    pub segments: Vec<Verified>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// Reads every byte of a log.
///
/// # Errors
/// If the directory or a file can't be read.
pub fn verify(io: &dyn Io, dir: &Path) -> io::Result<Verification> {
    let mut verification = Verification::default();
    walk(io, dir, 0, &mut |met| {
        match met {
            Met::Segment { file, opened } => {
                verification.epoch.get_or_insert(opened.header.epoch);
                verification.segments.push(Verified {
                    file: file.to_owned(),
                    first: opened.header.first,
                    last: opened.header.first - 1,
                    packs: 0,
                    events: 0,
                    bytes: opened.bytes,
                    times_ms: None,
                    sealed: false,
                });
            }
            Met::Pack { sequence, record } => {
                if let Some(segment) = verification.segments.last_mut() {
                    let ms = record.head().published_ms;
                    let (oldest, newest) = segment.times_ms.unwrap_or((ms, ms));
                    segment.times_ms = Some((oldest.min(ms), newest.max(ms)));
                    segment.last = sequence;
                    segment.packs += 1;
                    segment.events += record.head().events as u64;
                }
            }
            Met::Seal => {
                if let Some(segment) = verification.segments.last_mut() {
                    segment.sealed = true;
                }
            }
            Met::Fault(fault) => verification.faults.push(fault),
        }
        Ok(())
    })?;
    Ok(verification)
}

impl Verification {
    /// The exit status of the command: 0 all is well, 1 a write goes on or was cut short, 2 events
    /// are lost or bytes damaged, 3 a file can't be read by this build, [`NO_LOG`] there is no log.
    pub fn exit_status(&self) -> u8 {
        match self.faults.iter().map(|fault| fault.severity).max() {
            None if self.segments.is_empty() => NO_LOG,
            None => 0,
            Some(Severity::Unfinished) => 1,
            Some(Severity::Damaged) => 2,
            Some(Severity::Unreadable) => 3,
        }
    }

    /// The report for people, with ages as of `now_ms`.
    pub fn report(&self, now_ms: u64) -> impl fmt::Display + '_ {
        fmt::from_fn(move |f| {
            if self.exit_status() == NO_LOG {
                return writeln!(f, "no log: there is no segment in the directory");
            }
            if let Some(epoch) = self.epoch {
                writeln!(f, "epoch {epoch}")?;
            }
            for segment in &self.segments {
                let Verified { file, first, last, packs, events, bytes, times_ms, sealed } = segment;
                let (events, packs) = (Count(*events, "event"), Count(*packs, "pack"));
                write!(f, "{}: {events} in {packs} ", file.display())?;
                if first <= last {
                    write!(f, "({first} to {last}), ")?;
                }
                write!(f, "{bytes} bytes")?;
                if let Some((oldest, newest)) = times_ms {
                    let seconds = |ms: &u64| now_ms.saturating_sub(*ms) / 1000;
                    write!(f, ", {} to {} s old", seconds(newest), seconds(oldest))?;
                }
                writeln!(f, "{}", if *sealed { "" } else { ", not sealed" })?;
            }
            let sum = |field: fn(&Verified) -> u64| self.segments.iter().map(field).sum::<u64>();
            let (events, bytes) = (sum(|segment| segment.events), sum(|segment| segment.bytes));
            let (segments, events) = (Count(self.segments.len() as u64, "segment"), Count(events, "event"));
            writeln!(f, "{segments}, {events}, {bytes} bytes")?;
            for fault in &self.faults {
                writeln!(f, "{fault}")?;
            }
            match self.faults.len() as u64 {
                0 => writeln!(f, "no faults"),
                faults => writeln!(f, "{}", Count(faults, "fault")),
            }
        })
    }
}

/// So many of something.
struct Count(u64, &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Unfinished => "unfinished",
            Severity::Damaged => "damaged",
            Severity::Unreadable => "unreadable",
        };
        write!(f, "{severity}: {}, byte {}: {}", self.file.display(), self.at, self.what)?;
        match self.lost {
            Some((first, last)) if first == last => write!(f, ": pack {first} is lost"),
            Some((first, last)) => write!(f, ": packs {first} to {last} are lost"),
            None => Ok(()),
        }
    }
}
