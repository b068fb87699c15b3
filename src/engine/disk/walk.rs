//! A walk over a log's files that changes nothing and needs no lock, for the commands.

use std::io;
use std::path::{Path, PathBuf};

use super::catalog::{self, Catalog, Opened, SegmentError};
use super::frames::{Damage, Found, Frames};
use super::io::Io;
use super::recover::synced_behind;
use super::segment::{HeaderError, name};
use crate::engine::record::{Record, RecordError};
use crate::hub::id::Epoch;

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A write that goes on, or that a crash cut short. Nothing acknowledged is lost.
    Unfinished,
    /// Events are lost, or bytes damaged.
    Damaged,
    /// A file that this build can't read: it would not open the log.
    Unreadable,
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// The byte where it begins.
    pub at: u64,
    /// What is wrong.
    pub what: String,
    /// The packs that are lost by it, the first and the last.
    pub lost: Option<(u64, u64)>,
}

/// What a walk meets.
pub(super) enum Met<'a> {
    /// The start of a segment.
    Segment { file: &'a Path, opened: &'a Opened },
    /// A pack of it.
    Pack { sequence: u64, record: Record<'a> },
    /// Its seal.
    Seal,
    /// Something wrong.
    Fault(Fault),
}

/// Walks over all packs from this sequence on.
///
/// # Errors
/// If a file can't be read, or `meet` says so.
pub(super) fn walk(
    io: &dyn Io,
    dir: &Path,
    from: u64,
    meet: &mut dyn FnMut(Met<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let catalog = Catalog::read(io, dir)?;
    for file in &catalog.misnamed {
        let what = "is named like a segment, but not by a sequence".to_owned();
        let fault = Fault { severity: Severity::Unreadable, file: file.clone(), at: 0, what, lost: None };
        meet(Met::Fault(fault))?;
    }
    let skipped = catalog.segments.partition_point(|first| *first <= from).saturating_sub(1);
    // The next sequence and the epoch, once they are known.
    let mut before: Option<(u64, Epoch)> = None;
    let firsts = &catalog.segments[skipped..];
    for (i, &first) in firsts.iter().enumerate() {
        let file = dir.join(name(first));
        let opened = match catalog::open(io, dir, first, false) {
            Ok(opened) => opened,
            // Retention took it, and all before it.
            Err(SegmentError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                before = None;
                continue;
            }
            Err(SegmentError::Io(error)) => return Err(error),
            Err(error) => {
                let at = if matches!(error, SegmentError::Header(HeaderError::Future { .. })) { 8 } else { 0 };
                let what = error.to_string();
                meet(Met::Fault(Fault { severity: Severity::Unreadable, file, at, what, lost: None }))?;
                before = None;
                continue;
            }
        };
        let mut fault = |severity, at, what: &str, lost| {
            meet(Met::Fault(Fault { severity, file: file.clone(), at, what: what.to_owned(), lost }))
        };
        if let Some((next, epoch)) = before {
            if epoch != opened.header.epoch {
                fault(Severity::Unreadable, 16, "belongs to another log (its epoch differs)", None)?;
            }
            if first < next {
                fault(Severity::Unreadable, 24, "holds a sequence that the segment before it holds, too", None)?;
            } else if first > next {
                fault(Severity::Damaged, 0, "packs before it are missing", Some((next, first - 1)))?;
            }
        }
        meet(Met::Segment { file: &file, opened: &opened })?;
        let next = segment(&file, &opened, firsts.get(i + 1).copied(), from, meet)?;
        before = Some((next, opened.header.epoch));
    }
    Ok(())
}

/// Walks over one segment, which another one follows that begins with `following`. Says which sequence
/// is to come next.
fn segment(
    file: &Path,
    opened: &Opened,
    following: Option<u64>,
    from: u64,
    meet: &mut dyn FnMut(Met<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    let mut frames = Frames::new(&opened.header, opened.bytes);
    let mut next = opened.header.first;
    let mut damaged: Option<Damage> = None;
    let mut synced_through = None;
    let fault = |severity, at, what: &str, lost| {
        Met::Fault(Fault { severity, file: file.to_owned(), at, what: what.to_owned(), lost })
    };
    let lost = |damage: Damage, next: u64, found: u64| {
        fault(Severity::Damaged, damage.at, damage.what.as_str(), (next < found).then(|| (next, found - 1)))
    };
    loop {
        match frames.next(&*opened.file)? {
            Found::Record { at, head, body } => {
                if let Some(damage) = damaged.take() {
                    meet(lost(damage, next, head.sequence))?;
                }
                let sequence = head.sequence;
                next = sequence + 1;
                if sequence < from {
                    continue;
                }
                match Record::decode(&frames.bytes()[body]) {
                    Ok(record) => meet(Met::Pack { sequence, record })?,
                    Err(error @ RecordError::Future { .. }) => {
                        meet(fault(Severity::Unreadable, at, &error.to_string(), None))?;
                    }
                    Err(error) => {
                        meet(fault(Severity::Damaged, at, &error.to_string(), Some((sequence, sequence))))?;
                    }
                }
            }
            Found::Damage(damage) => {
                let proof = match synced_through {
                    Some(known) => known,
                    None => *synced_through.insert(synced_behind(opened, &damage)?),
                };
                if following.is_none() && damage.sequence > proof {
                    meet(fault(
                        Severity::Unfinished,
                        damage.at,
                        &format!("a write that goes on, or that was cut short: {} bytes", opened.bytes - damage.at),
                        None,
                    ))?;
                    break;
                }
                damaged.get_or_insert(damage);
            }
            Found::Seal { .. } => {
                meet(Met::Seal)?;
                break;
            }
            Found::End => break,
        }
    }
    let Some(damage) = damaged else { return Ok(next) };
    // What was lost at the segment's end, the next one tells.
    let following = following.unwrap_or(next).max(next);
    meet(lost(damage, next, following))?;
    Ok(following)
}
