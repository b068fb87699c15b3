//! What a log does, call by call.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::dump::{Format, dump};
use super::io::{Disk, Io, Locking};
use super::kit::{ALL, Met, dir, open, options, pack, read, read_all};
use super::read::{Cause, Item, ReadError, Totals};
use super::recover::SEQUENCES_SKIPPED;
use super::retention::Limits;
use super::segment::{Sync, name};
use super::sim::{Fault, Sim};
use super::store::{AppendError, Options, Retained, Store};
use super::verify::verify;

fn met(numbers: impl IntoIterator<Item = u64>) -> Vec<Met> {
    numbers.into_iter().map(|n| Met::Pack(n, format!("pack {n}"), 1)).collect()
}

fn append(store: &mut Store, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        let sequences = store.append(&[pack(&format!("pack {n}"), 1)]).unwrap();
        assert_eq!(sequences, n..=n);
        assert_eq!(store.sync().unwrap(), n);
    }
}

#[test]
fn a_log_is_new_once_and_keeps_its_epoch() {
    let sim = Sim::new();
    let (mut store, report) = open(&sim, options(Sync::Always, 400)).unwrap();
    assert!(report.new);
    let epoch = store.epoch();
    append(&mut store, 1..=20);
    store.close().unwrap();
    let mut later = options(Sync::Always, 400);
    later.random = 99;
    let (mut store, report) = open(&sim, later).unwrap();
    assert_eq!((report.new, report.crashed, report.events), (false, false, 20));
    assert!(report.segments > 3);
    let readers = store.readers();
    let bytes: usize = sim.paths().iter().map(|path| sim.read(path).len()).sum();
    assert_eq!(readers.totals(), Totals { segments: report.segments, events: 20, bytes: bytes as u64 });
    let per_segment = store.shared().segments.lock()[1].header.first - 1;
    for events in 0..30 {
        let first = readers.first_of_newest(events);
        let found = 21 - first;
        assert!(first == 1 || (events..=events + per_segment).contains(&found), "{events}: {found}");
    }
    assert_eq!(readers.first_of_newest(20), 1);
    assert_eq!(store.epoch(), epoch);
    append(&mut store, 21..=25);
    assert_eq!(read_all(&store), met(1..=25));
    for from in 1..=26 {
        assert_eq!(read(&mut store.readers().reader(from)), met(from..=25));
    }
    assert_eq!(store.append(&[]).unwrap().count(), 0);
}

#[test]
fn a_reader_sees_what_counts_as_stored() {
    for sync in [Sync::Always, Sync::Interval] {
        let sim = Sim::new();
        let (mut store, _) = open(&sim, options(sync, 400)).unwrap();
        let mut reader = store.readers().reader(1);
        assert_eq!(read(&mut reader), []);
        let mut seen = 0;
        for n in 1..=30 {
            assert_eq!(store.append(&[pack(&format!("pack {n}"), 1)]).unwrap(), n..=n);
            if sync == Sync::Interval {
                assert_eq!(read(&mut reader), met([n]));
                seen = n;
            }
            if n % 7 == 0 {
                store.sync().unwrap();
                assert_eq!(read(&mut reader), met(seen + 1..=n));
                seen = n;
            } else if sync == Sync::Always {
                // A full segment is synced before the next begins.
                let (_, last) = store.readers().range();
                assert_eq!(read(&mut reader), met(seen + 1..=last));
                seen = last;
                assert!(last <= n);
            }
            assert_eq!(reader.position(), seen + 1);
        }
    }
}

#[test]
fn a_large_segment_is_entered_in_its_middle() {
    let sim = Sim::new();
    let (mut store, _) = open(&sim, options(Sync::Interval, 64 << 20)).unwrap();
    let group: Vec<_> = (1..=40_000).map(|n| pack(&format!("pack {n}"), 1)).collect();
    store.append(&group).unwrap();
    store.sync().unwrap();
    let check = |store: &Store| {
        for from in [1, 2, 9_999, 20_000, 39_999, 40_000] {
            let mut reader = store.readers().reader(from);
            let Some(Item::Pack { sequence, record }) = reader.next().unwrap() else { panic!() };
            assert_eq!((sequence, record.head().idempotency_key.unwrap()), (from, &*format!("pack {from}")));
        }
        assert!(store.shared().segments.lock()[0].summary.marks.len() > 5);
        let mut reader = store.readers().reader(1);
        assert_eq!(read(&mut reader).len(), 40_000);
        reader.seek(39_999);
        assert_eq!(read(&mut reader), met(39_999..=40_000));
    };
    check(&store);
    store.close().unwrap();
    let (store, _) = open(&sim, options(Sync::Interval, 64 << 20)).unwrap();
    check(&store);
}

#[test]
fn a_record_larger_than_a_segment_has_one_of_its_own() {
    let sim = Sim::new();
    let (mut store, _) = open(&sim, options(Sync::Always, 1_000)).unwrap();
    append(&mut store, 1..=2);
    let large = pack("large", 16_384);
    assert!(large.bytes().len() > 200_000);
    assert_eq!(store.append(&[large]).unwrap(), 3..=3);
    store.sync().unwrap();
    append(&mut store, 4..=5);
    let mut expected = met(1..=5);
    expected[2] = Met::Pack(3, "large".into(), 16_384);
    assert_eq!(read_all(&store), expected);
    assert_eq!(store.shared().segments.lock().len(), 3);
}

#[test]
fn retention_removes_whole_segments_and_the_reader_is_told() {
    let sim = Sim::new();
    let mut options = options(Sync::Always, 400);
    options.limits = Limits { events: 6, ..ALL };
    let (mut store, _) = open(&sim, options.clone()).unwrap();
    let mut early = store.readers().reader(1);
    assert!(early.next().unwrap().is_none());
    append(&mut store, 1..=20);
    let Some(Item::Pack { sequence: 1, .. }) = early.next().unwrap() else { panic!() };
    let per_segment = store.shared().segments.lock()[1].header.first - 1;
    let retained = store.retain(1_000).unwrap();
    let (first, last) = store.readers().range();
    assert_eq!(last, 20);
    assert!((9..=15).contains(&first), "{first}: six must stay, and up to {per_segment} more");
    let segments = retained.segments;
    assert_eq!(retained, Retained { segments, events: first - 1, bytes: retained.bytes, more: false });
    // The one that has the file open reads it to its end.
    let mut expected = met(2..=per_segment);
    expected.push(Met::Hole(per_segment + 1, first - 1, "expired"));
    expected.extend(met(first..=20));
    assert_eq!(read(&mut early), expected);
    assert_eq!(read(&mut store.readers().reader(3))[0], Met::Hole(3, first - 1, "expired"));
    assert_eq!(store.retain(1_000).unwrap(), Retained::default());
    drop(store);
    sim.kill();
    let (store, report) = open(&sim, options).unwrap();
    assert_eq!(report.holes, []);
    assert_eq!(read(&mut store.readers().reader(first)), met(first..=20));
}

#[test]
fn old_events_go_but_the_newest_segment_stays() {
    let sim = Sim::new();
    let mut options = options(Sync::Always, 400);
    options.limits = Limits { age_ms: 5_000, ..ALL };
    let (mut store, _) = open(&sim, options.clone()).unwrap();
    append(&mut store, 1..=20);
    assert_eq!(store.retain(6_000).unwrap().segments, 0);
    assert!(store.retain(6_001).unwrap().segments > 2);
    let first = store.readers().range().0;
    assert!(first > 15);
    store.close().unwrap();
    // All are too old, and the next sequence and the epoch are still known.
    let (mut store, _) = open(&sim, options).unwrap();
    assert_eq!(store.next_sequence(), 21);
    append(&mut store, 21..=21);
    assert_eq!(read(&mut store.readers().reader(first)), met(first..=21));
}

#[test]
fn many_segments_go_a_few_at_a_time() {
    let sim = Sim::new();
    let mut options = options(Sync::Always, 100);
    options.limits = Limits { bytes: 1_000, ..ALL };
    let (mut store, _) = open(&sim, options).unwrap();
    append(&mut store, 1..=60);
    let one = store.retain(0).unwrap();
    assert_eq!((one.segments, one.more), (16, true));
    while store.retain(0).unwrap().more {}
    let bytes: usize = sim.paths().iter().map(|path| sim.read(path).len()).sum();
    assert!((700..=1_000).contains(&bytes), "{bytes}");
}

#[test]
fn a_full_disk_refuses_whole_groups_and_then_goes_on() {
    let sim = Sim::new();
    let (mut store, _) = open(&sim, options(Sync::Always, 1_000)).unwrap();
    append(&mut store, 1..=3);
    for room in 0..300 {
        sim.room(Some(room));
        let group: Vec<_> = (0..6).map(|n| pack(&format!("refused {n}"), 1)).collect();
        let error = store.append(&group).unwrap_err();
        assert!(matches!(error, AppendError::Refused { .. }), "{error}");
        assert!(error.to_string().starts_with("not stored: can't "), "{error}");
        assert_eq!(read_all(&store), met(1..=3));
    }
    sim.room(None);
    append(&mut store, 4..=40);
    assert_eq!(read_all(&store), met(1..=40));
    // Without room a process starts all the same, and serves what there is.
    sim.room(Some(0));
    drop(store);
    sim.kill();
    let (mut store, report) = open(&sim, options(Sync::Always, 1_000)).unwrap();
    assert!(report.crashed);
    assert_eq!(read_all(&store), met(1..=40));
    assert!(matches!(store.append(&[pack("x", 1)]), Err(AppendError::Refused { .. })));
    sim.room(None);
    append(&mut store, 41..=42);
    assert_eq!(read_all(&store), met(1..=42));
}

#[test]
fn a_failed_sync_ends_the_writing_and_not_the_reading() {
    let sim = Sim::new();
    let (mut store, _) = open(&sim, options(Sync::Always, 1_000)).unwrap();
    append(&mut store, 1..=3);
    store.append(&[pack("pack 4", 1)]).unwrap();
    sim.fail_at(0, Fault::Fail);
    let error = store.sync().unwrap_err();
    assert!(matches!(error, AppendError::Failed { action: "sync", .. }));
    assert!(error.to_string().ends_with("The process has to end"), "{error}");
    for _ in 0..2 {
        let error = store.sync().unwrap_err();
        assert!(matches!(error, AppendError::Poisoned(_)), "{error}");
        assert!(matches!(store.append(&[pack("x", 1)]), Err(AppendError::Poisoned(_))));
        assert!(matches!(store.retain(0), Err(AppendError::Poisoned(_))));
        assert_eq!(read_all(&store), met(1..=3));
    }
    assert!(matches!(store.close(), Err(AppendError::Poisoned(_))));
}

#[test]
fn a_failed_write_leaves_doubt_and_ends_the_writing() {
    let sim = Sim::new();
    let (mut store, _) = open(&sim, options(Sync::Always, 1_000)).unwrap();
    append(&mut store, 1..=3);
    sim.fail_at(0, Fault::Fail);
    let error = store.append(&[pack("pack 4", 1)]).unwrap_err();
    assert!(matches!(error, AppendError::Failed { action: "write", .. }), "{error}");
    assert!(error.to_string().starts_with("may be stored: "), "{error}");
    assert!(matches!(store.append(&[pack("pack 4", 1)]), Err(AppendError::Poisoned(_))));
    assert_eq!(read_all(&store), met(1..=3));
}

#[test]
fn a_log_that_is_synced_at_intervals_leaves_out_sequences_after_a_crash() {
    let sim = Sim::new();
    let (mut store, _) = open(&sim, options(Sync::Interval, 1_000)).unwrap();
    append(&mut store, 1..=3);
    drop(store);
    sim.kill();
    // Also if the next process appends nothing.
    for _ in 0..2 {
        let (store, report) = open(&sim, options(Sync::Always, 1_000)).unwrap();
        assert_eq!(report.segments, 1);
        assert_eq!(store.next_sequence(), 4 + SEQUENCES_SKIPPED);
        assert_eq!(read_all(&store), met(1..=3));
        drop(store);
        sim.kill();
    }
    // Also if bytes stand behind the seal.
    let path = dir().join(name(1));
    sim.write(&path, &[&sim.read(&path)[..], b"left over"].concat());
    let (mut store, _) = open(&sim, options(Sync::Always, 1_000)).unwrap();
    let after = 4 + SEQUENCES_SKIPPED;
    append(&mut store, after..=after);
    let mut expected = met(1..=3);
    expected.push(Met::Hole(4, after - 1, "missing"));
    expected.extend(met([after]));
    assert_eq!(read_all(&store), expected);
    // In order it leaves out none.
    store.close().unwrap();
    let (mut store, _) = open(&sim, options(Sync::Interval, 1_000)).unwrap();
    append(&mut store, after + 1..=after + 1);
    store.close().unwrap();
    let (store, _) = open(&sim, options(Sync::Interval, 1_000)).unwrap();
    assert_eq!(store.next_sequence(), after + 2);
}

#[test]
fn a_reader_says_what_it_cannot_read() {
    let sim = Sim::new();
    let (mut store, _) = open(&sim, options(Sync::Always, 400)).unwrap();
    append(&mut store, 1..=9);
    let mut reader = store.readers().reader(1);
    sim.delete(&dir().join(name(1)));
    let Some(Item::Hole(hole)) = reader.next().unwrap() else { panic!() };
    assert_eq!((hole.first, hole.cause), (1, Cause::Missing));
    assert_eq!(read(&mut reader), met(hole.last + 1..=9));

    let path = dir().join(name(hole.last + 1));
    let mut bytes = sim.read(&path);
    let salt = super::segment::Header::decode(&bytes).unwrap().salt;
    let body = [&[9][..], &pack(&format!("pack {}", hole.last + 1), 1).bytes()[1..]].concat();
    let mut frame = Vec::new();
    super::segment::put_frame(&mut frame, salt, 64, super::segment::Kind::Record, hole.last + 1, 0, &body);
    bytes.splice(64..64 + frame.len(), frame);
    sim.write(&path, &bytes);
    let mut reader = store.readers().reader(hole.last + 1);
    for _ in 0..2 {
        let Err(ReadError::Future { at: 64, error, .. }) = reader.next() else { panic!() };
        assert_eq!(error.to_string(), "the record is of version 9, this build reads up to version 1");
    }
}

fn real(dir: &Path) -> Options {
    Options { dir: dir.to_owned(), ..options(Sync::Always, 1_000) }
}

fn open_real(dir: &Path) -> Result<Store, String> {
    Store::open(Arc::new(Disk), real(dir), 1_000).map(|(store, _)| store).map_err(|error| error.to_string())
}

#[test]
fn on_a_real_disk() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("log");
    let mut store = open_real(&dir).unwrap();
    append(&mut store, 1..=50);
    let at = dir.display();
    assert_eq!(open_real(&dir).err().unwrap(), format!("the log in {at} is in use by process 1"));
    // The commands need no lock.
    let verification = verify(&Disk, &dir).unwrap();
    assert_eq!(verification.exit_status(), 0, "{:?}", verification.faults);
    assert_eq!(verification.segments.iter().map(|segment| segment.events).sum::<u64>(), 50);
    drop(store);
    fs::write(dir.join("00000000000000000051.segment.new"), "half").unwrap();
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    let mut store = open_real(&dir).unwrap();
    assert!(!dir.join("00000000000000000051.segment.new").exists());
    assert!(dir.join("notes.txt").exists());
    append(&mut store, 51..=60);
    assert_eq!(read_all(&store), met(1..=60));
    store.close().unwrap();
    assert_eq!(read_all(&open_real(&dir).unwrap()), met(1..=60));
}

#[test]
fn a_directory_that_cannot_be_one_is_named() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path().display();
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(open_real(&file).err().unwrap(), format!("{at}/file is to be the log's directory, but is none"));
    let below = open_real(&temp.path().join("a/b")).err().unwrap();
    assert_eq!(below, format!("the log's directory {at}/a/b can't be made: {at}/a does not exist"));
}

/// A file system that can be read and not written.
#[derive(Clone)]
struct ReadOnly(Sim);

impl Io for ReadOnly {
    fn open(&self, path: &Path, write: bool) -> std::io::Result<Box<dyn super::io::File>> {
        if write { Err(std::io::ErrorKind::ReadOnlyFilesystem.into()) } else { self.0.open(path, write) }
    }
    fn create(&self, _: &Path) -> std::io::Result<Box<dyn super::io::File>> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn create_dir(&self, _: &Path) -> std::io::Result<()> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn rename(&self, _: &Path, _: &Path) -> std::io::Result<()> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn remove(&self, _: &Path) -> std::io::Result<()> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
    fn lock(&self, _: &Path, _: &str) -> std::io::Result<Locking> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

#[test]
fn a_read_only_directory_is_named() {
    let sim = Sim::new();
    let error = open(&ReadOnly(sim.clone()), options(Sync::Always, 400)).err().unwrap();
    let said = |error: &dyn std::error::Error| [error.to_string(), error.source().unwrap().to_string()].join(": ");
    assert_eq!(said(&error), "can't make /log: read-only filesystem or storage medium");
    drop(open(&sim, options(Sync::Always, 400)).unwrap());
    let error = open(&ReadOnly(sim.clone()), options(Sync::Always, 400)).err().unwrap();
    assert_eq!(said(&error), "can't lock /log/lock: read-only filesystem or storage medium");
    assert_eq!(verify(&ReadOnly(sim), &dir()).unwrap().exit_status(), 0);
}

#[test]
fn the_commands_say_what_a_log_holds() {
    let sim = Sim::new();
    let (mut store, _) = open(&sim, options(Sync::Always, 220)).unwrap();
    append(&mut store, 1..=3);
    let event = crate::engine::record::Event {
        topics: &["a", "b\n"][..],
        event: Some("e"),
        id: Some("i"),
        retry_ms: Some(5),
        key: Some("k"),
        data: "\"x\"\u{1b}",
        live_only: false,
        private: false,
    };
    let pack = crate::engine::record::Pack { published_ms: 500, idempotency_key: None, events: &[event] };
    store.append(&[crate::engine::record::encode(&pack).unwrap()]).unwrap();
    store.sync().unwrap();

    let verification = verify(&sim, &dir()).unwrap();
    assert_eq!(
        verification.report(61_000).to_string(),
        "epoch 00000007\n\
         /log/00000000000000000001.segment: 3 events in 3 packs (1 to 3), 295 bytes, 60 to 60 s old\n\
         /log/00000000000000000004.segment: 1 event in 1 pack (4 to 4), 113 bytes, 60 to 60 s old, not sealed\n\
         2 segments, 4 events, 408 bytes\n\
         no faults\n"
    );
    let dumped = |from, format| {
        let mut out = Vec::new();
        dump(&sim, &dir(), from, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        dumped(3, Format::Text),
        "3/0 1000 topic=\"t\" id=\"00000007-0000000011xc\" data=\"pack 3/0\"\n\
         4/0 500 topic=\"a\" topic=\"b\\n\" event=\"e\" id=\"i\" key=\"k\" retry=5 data=\"\\\"x\\\"\\u{1b}\"\n"
    );
    assert_eq!(
        dumped(3, Format::Json),
        "{\"offset\":49152,\"sequence\":3,\"index\":0,\"published_ms\":1000,\"idempotency_key\":\"pack 3\",\
         \"topics\":[\"t\"],\"id\":\"00000007-0000000011xc\",\"data\":\"pack 3/0\"}\n\
         {\"offset\":65536,\"sequence\":4,\"index\":0,\"published_ms\":500,\"topics\":[\"a\",\"b\\n\"],\
         \"event\":\"e\",\"id\":\"i\",\"key\":\"k\",\"retry\":5,\"data\":\"\\\"x\\\"\\u001b\"}\n"
    );
    assert_eq!(dumped(0, Format::Text).lines().count(), 4);
    assert_eq!(dumped(5, Format::Text), "");
    sim.delete(&dir().join(name(1)));
    let mut bytes = sim.read(&dir().join(name(4)));
    bytes[70] ^= 1;
    sim.write(&dir().join(name(4)), &bytes);
    assert_eq!(
        dumped(0, Format::Json),
        "{\"fault\":\"a write that goes on, or that was cut short: 49 bytes\",\
         \"file\":\"/log/00000000000000000004.segment\",\"byte\":64}\n"
    );
}
