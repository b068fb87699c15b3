//! Logs with damaged bytes: what is lost is said, what is not lost is there, and nothing panics.

use proptest::prelude::*;

use super::kit::{Met, dir, open, options, pack, read, read_all};
use super::recover::OpenError;
use super::segment::{HEADER_BYTES, Sync, name};
use super::sim::{Rng, Sim};
use super::verify::{Severity, verify};

const FIRST: u64 = HEADER_BYTES as u64;

/// A log of ten packs, one group each, and where each of their frames begins. Not closed.
fn ten(sync: Sync, segment_bytes: u64) -> (Sim, Vec<(u64, u64)>) {
    let sim = Sim::new();
    let (mut store, report) = open(&sim, options(sync, segment_bytes)).unwrap();
    assert!(report.new);
    let mut frames = Vec::new();
    for n in 1..=10 {
        let text = format!("pack {n:02}");
        store.append(&[pack(&text, 2)]).unwrap();
        store.sync().unwrap();
        let segments = store.shared().segments.lock();
        let newest = segments.last().unwrap();
        let bytes = 25 + pack(&text, 2).bytes().len() as u64;
        frames.push((newest.header.first, newest.summary.end - bytes));
    }
    drop(store);
    sim.kill();
    (sim, frames)
}

fn packs(numbers: impl IntoIterator<Item = u64>) -> Vec<Met> {
    numbers.into_iter().map(|n| Met::Pack(n, format!("pack {n:02}"), 2)).collect()
}

fn flip(sim: &Sim, segment: u64, at: u64) {
    let path = dir().join(name(segment));
    let mut bytes = sim.read(&path);
    bytes[at as usize] ^= 0x20;
    sim.write(&path, &bytes);
}

/// Flips a bit in two packs of ten in one segment that is not sealed, and sees what recovery makes of it.
#[track_caller]
fn check_open(flips: &[(usize, u64)], expected: &[Met], cut: bool) {
    let (sim, frames) = ten(Sync::Always, 1 << 20);
    for &(pack, byte) in flips {
        flip(&sim, 1, frames[pack - 1].1 + byte);
    }
    let (mut store, report) = open(&sim, options(Sync::Always, 1 << 20)).unwrap();
    assert_eq!(report.cut.is_some(), cut, "{report:?}");
    assert_eq!(read_all(&store), expected);
    let holes: Vec<_> = report.holes.iter().map(|hole| (hole.first, hole.last)).collect();
    let expected_holes: Vec<_> = expected
        .iter()
        .filter_map(|met| if let Met::Hole(first, last, _) = met { Some((*first, *last)) } else { None })
        .collect();
    assert_eq!(holes, expected_holes);
    // It goes on, and the next process finds the same.
    let sequence = *store.append(&[pack("pack 99", 2)]).unwrap().start();
    store.sync().unwrap();
    let mut expected = expected.to_vec();
    expected.push(Met::Pack(sequence, "pack 99".into(), 2));
    assert_eq!(read_all(&store), expected);
    store.close().unwrap();
    let (store, report) = open(&sim, options(Sync::Always, 1 << 20)).unwrap();
    assert!(!report.crashed && report.cut.is_none());
    assert_eq!(read_all(&store), expected);
}

#[test]
fn two_damaged_packs_in_the_middle_are_two_holes() {
    let damaged = |n| Met::Hole(n, n, "damaged");
    let around = |one: usize, other: usize| {
        let mut met = packs(1..=10);
        met[one - 1] = damaged(one as u64);
        met[other - 1] = damaged(other as u64);
        met
    };
    // In the body, in the head's checksum, in the length, in the sequence, in `unsynced`.
    for byte in [30, 0, 5, 8, 12, 15, 22] {
        check_open(&[(3, byte), (7, byte)], &around(3, 7), false);
    }
    let mut neighbours = packs(1..=10);
    neighbours.splice(2..4, [Met::Hole(3, 4, "damaged")]);
    let (sim, frames) = ten(Sync::Always, 1 << 20);
    flip(&sim, 1, frames[2].1);
    flip(&sim, 1, frames[3].1);
    let (store, _) = open(&sim, options(Sync::Always, 1 << 20)).unwrap();
    assert_eq!(read_all(&store), neighbours);
}

#[test]
fn damage_at_the_end_is_an_unfinished_write() {
    check_open(&[(10, 30)], &packs(1..=9), true);
    check_open(&[(10, 0)], &packs(1..=9), true);
    // The ninth was synced before the tenth was written, but nothing shows it any more.
    check_open(&[(9, 30), (10, 30)], &packs(1..=8), true);
    // The tenth shows that the ninth was.
    let mut met = packs(1..=10);
    met[8] = Met::Hole(9, 9, "damaged");
    check_open(&[(9, 30)], &met, false);
}

#[test]
fn a_group_that_was_cut_short_leaves_nothing_behind_its_first_loss() {
    let sim = Sim::new();
    let (mut store, _) = open(&sim, options(Sync::Always, 1 << 20)).unwrap();
    store.append(&[pack("pack 01", 2)]).unwrap();
    store.sync().unwrap();
    let group: Vec<_> = (2..=4).map(|n| pack(&format!("pack {n:02}"), 2)).collect();
    store.append(&group).unwrap();
    drop(store);
    sim.kill();
    // Of a group that was never synced, the last pack reached the disk and the first did not.
    let frame = 25 + group[0].bytes().len() as u64;
    flip(&sim, 1, FIRST + frame + 30);
    let verification = verify(&sim, &dir()).unwrap();
    assert_eq!(verification.exit_status(), 1, "{:?}", verification.faults);
    let (mut store, report) = open(&sim, options(Sync::Always, 1 << 20)).unwrap();
    let cut = report.cut.unwrap();
    assert_eq!((cut.at, cut.bytes), (FIRST + frame, 3 * frame));
    assert_eq!(
        cut.to_string(),
        "/log/00000000000000000001.segment: cut 189 bytes from byte 127 on, the rest of an unfinished write \
         (the checksum of the record is wrong)"
    );
    assert_eq!(read_all(&store), packs([1]));
    assert_eq!(store.append(&[pack("pack 02", 2)]).unwrap(), 2..=2);
    store.sync().unwrap();
    assert_eq!(read_all(&store), packs([1, 2]));
}

#[test]
fn damage_in_an_older_segment_is_a_hole_that_the_reader_meets() {
    let (sim, frames) = ten(Sync::Always, 250);
    let firsts: Vec<_> = {
        let mut firsts: Vec<_> = frames.iter().map(|frame| frame.0).collect();
        firsts.dedup();
        firsts
    };
    assert_eq!(firsts, [1, 3, 5, 7, 9]);
    // The last pack of one segment, the first of another; and a file that is gone.
    flip(&sim, 1, frames[1].1 + 30);
    flip(&sim, 3, frames[2].1);
    sim.delete(&dir().join(name(7)));
    let mut expected = packs([1]);
    expected.extend([Met::Hole(2, 2, "damaged"), Met::Hole(3, 3, "damaged")]);
    expected.extend(packs(4..=6));
    expected.push(Met::Hole(7, 8, "missing"));
    expected.extend(packs(9..=10));
    let (store, report) = open(&sim, options(Sync::Always, 250)).unwrap();
    assert_eq!(read_all(&store), expected);
    assert_eq!(
        report.holes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["/log/00000000000000000009.segment: the packs 7 to 8 are lost; streams that want them are told of a gap"]
    );
    // From the middle of a hole, too.
    assert_eq!(read(&mut store.readers().reader(8))[0], Met::Hole(8, 8, "missing"));
    let verification = verify(&sim, &dir()).unwrap();
    assert_eq!(verification.exit_status(), 2);
    let faults: Vec<_> = verification.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "damaged: /log/00000000000000000001.segment, byte 127: the checksum of the record is wrong: pack 2 is lost",
            "damaged: /log/00000000000000000003.segment, byte 64: no frame begins here (the head's checksum is wrong): \
             pack 3 is lost",
            "damaged: /log/00000000000000000009.segment, byte 0: packs before it are missing: packs 7 to 8 are lost",
        ]
    );
    // The seal of a segment: nothing is lost, and it is read by walking over it.
    let path = dir().join(name(5));
    let mut bytes = sim.read(&path);
    let events_at = bytes.len() - 8 - 48;
    assert_eq!(bytes[events_at], 4, "two packs of two events");
    bytes[events_at] = 5;
    sim.write(&path, &bytes);
    drop(store);
    let (store, later) = open(&sim, options(Sync::Always, 250)).unwrap();
    assert_eq!(later.events, report.events);
    assert_eq!(read_all(&store), expected);
}

#[test]
fn what_is_no_segment_is_refused_by_name() {
    #[track_caller]
    fn check(file: &str, bytes: &[u8], expected: &str) {
        let (sim, _) = ten(Sync::Always, 1 << 20);
        sim.write(&dir().join(file), bytes);
        let error = open(&sim, options(Sync::Always, 1 << 20)).err().unwrap();
        assert_eq!(error.to_string(), expected);
        let verification = verify(&sim, &dir()).unwrap();
        assert_eq!(verification.exit_status(), 3);
        assert!(verification.faults[0].severity == Severity::Unreadable);
    }
    let (sim, _) = ten(Sync::Always, 1 << 20);
    let good = sim.read(&dir().join(name(1)));
    let seal = |mut header: Vec<u8>| {
        let crc = crc32fast::hash(&header[..60]);
        header[60..64].copy_from_slice(&crc.to_le_bytes());
        header
    };
    let next = "/log/00000000000000000011.segment";
    let away = "Move it away to go on without its events";
    check(
        &name(11),
        b"",
        &format!("{next} is no segment of the log: it is 0 bytes long, a segment's header alone has 64. {away}"),
    );
    check(
        &name(11),
        &[b'x'; 100],
        &format!("{next} is no segment of the log: it does not begin as a segment does. {away}"),
    );
    let mut damaged = good.clone();
    damaged[30] ^= 1;
    check(
        &name(11),
        &damaged,
        &format!("{next} is no segment of the log: its header is damaged (the checksum is wrong). {away}"),
    );
    check(
        &name(11),
        &good,
        &format!("{next} is no segment of the log: it begins with sequence 1, which its name does not say. {away}"),
    );
    let mut future = good[..64].to_vec();
    future[8] = 2;
    check(
        &name(11),
        &seal(future),
        &format!("{next}: it is of format version 2, this build reads up to version 1: a newer sluicegate wrote it"),
    );
    let mut other = good[..64].to_vec();
    (other[23], other[24]) = (b'x', 11);
    check(
        &name(11),
        &seal(other),
        &format!("{next} belongs to another log (epoch 0000000x, the others have 00000007)"),
    );
    let mut overlap = good[..64].to_vec();
    overlap[24] = 5;
    check(
        &name(5),
        &seal(overlap),
        "/log/00000000000000000005.segment begins with sequence 5, which the segment before it holds, too",
    );
    check("11.segment", b"", "/log/11.segment is named like a segment of the log, but not by a sequence. Move it away");
}

#[test]
fn a_record_of_the_future_is_no_damage() {
    let (sim, frames) = ten(Sync::Always, 1 << 20);
    let path = dir().join(name(1));
    let mut bytes = sim.read(&path);
    let salt = super::segment::Header::decode(&bytes).unwrap().salt;
    let at = frames[4].1 as usize;
    let len = pack("pack 05", 2).bytes().len();
    let mut body = bytes[at + 25..at + 25 + len].to_vec();
    let put = |bytes: &mut Vec<u8>, body: &[u8]| {
        let mut frame = Vec::new();
        super::segment::put_frame(&mut frame, salt, at as u64, super::segment::Kind::Record, 5, 0, body);
        bytes.splice(at..at + frame.len(), frame);
    };
    // A record that makes no sense is lost alone.
    body[1] = 0x80;
    put(&mut bytes, &body);
    sim.write(&path, &bytes);
    let (store, _) = open(&sim, options(Sync::Always, 1 << 20)).unwrap();
    let mut expected = packs(1..=10);
    expected[4] = Met::Hole(5, 5, "unreadable");
    assert_eq!(read_all(&store), expected);
    drop(store);
    // One of the future is not: this build must not go on behind it.
    body[0] = 2;
    put(&mut bytes, &body);
    sim.write(&path, &bytes);
    let error = open(&sim, options(Sync::Always, 1 << 20)).err().unwrap();
    assert!(matches!(error, OpenError::FutureRecord { .. }));
    assert_eq!(
        error.to_string(),
        "/log/00000000000000000001.segment, byte 316: the record is of version 2, this build reads up to version 1: \
         a newer sluicegate wrote it"
    );
    assert_eq!(verify(&sim, &dir()).unwrap().exit_status(), 3);
}

#[test]
fn an_event_that_looks_like_a_frame_is_none() {
    let (sim, frames) = ten(Sync::Always, 1 << 20);
    let path = dir().join(name(1));
    let mut bytes = sim.read(&path);
    // A copy of the third pack's frame in the body of the second, whose head is damaged.
    let (second, third, fourth) = (frames[1].1 as usize, frames[2].1 as usize, frames[3].1 as usize);
    let copy = bytes[third..fourth].to_vec();
    bytes[second] ^= 1;
    bytes[second + 25..second + 25 + copy.len() - 30].copy_from_slice(&copy[..copy.len() - 30]);
    sim.write(&path, &bytes);
    let (store, _) = open(&sim, options(Sync::Always, 1 << 20)).unwrap();
    let mut expected = packs(1..=10);
    expected[1] = Met::Hole(2, 2, "damaged");
    assert_eq!(read_all(&store), expected);
}

/// Every bit of a segment: what is read is what was written, or is said to be missing.
#[test]
fn every_bit_is_covered() {
    let (sim, _) = ten(Sync::Always, 1 << 20);
    let path = dir().join(name(1));
    let bytes = sim.read(&path);
    for bit in 64 * 8..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        sim.write(&path, &bytes);
        check_any(&sim, 9);
    }
    for len in 64..bytes.len() {
        sim.write(&path, &bytes[..len]);
        check_any(&sim, 0);
    }
}

/// Opens a damaged log: each pack that is read is one that was written, in its place.
fn check_any(sim: &Sim, least: usize) {
    assert!(verify(sim, &dir()).unwrap().exit_status() != 0 || least == 0);
    let (store, report) = open(sim, options(Sync::Always, 1 << 20)).unwrap();
    let mut next = 1;
    let mut read = 0;
    for met in read_all(&store) {
        match met {
            Met::Pack(sequence, text, 2) => {
                assert_eq!((sequence, text), (next, format!("pack {next:02}")));
                next += 1;
                read += 1;
            }
            Met::Hole(first, last, "damaged" | "unreadable") => {
                assert!(first == next && last >= first);
                next = last + 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(read >= least, "{read} of 10 were read: {report:?}");
    drop(store);
    sim.kill();
}

proptest! {
    /// Any damage to a segment's bytes behind its header, in any number.
    #[test]
    fn no_damage_invents_anything(seed in any::<u64>()) {
        let mut rng = Rng(seed);
        let (sim, _) = ten(Sync::Always, 1 << 20);
        let path = dir().join(name(1));
        let mut bytes = sim.read(&path);
        for _ in 0..1 + rng.below(6) {
            let at = 64 + rng.below(bytes.len() as u64 - 64) as usize;
            let len = (1 + rng.below(100) as usize).min(bytes.len() - at);
            match rng.below(4) {
                0 => bytes[at..at + len].fill_with(|| rng.next() as u8),
                1 => bytes[at..at + len].fill(0),
                2 => drop(bytes.drain(at..at + len)),
                _ => {
                    let copy = bytes[at..at + len].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
            if bytes.len() < 100 {
                break;
            }
        }
        sim.write(&path, &bytes);
        check_any(&sim, 0);
    }

    /// Any bytes at all.
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let (sim, _) = ten(Sync::Always, 1 << 20);
        let path = dir().join(name(1));
        let header = sim.read(&path)[..64].to_vec();
        sim.write(&path, &bytes);
        prop_assert!(open(&sim, options(Sync::Always, 1 << 20)).is_err());
        sim.write(&path, &[&header[..], &bytes].concat());
        let (store, _) = open(&sim, options(Sync::Always, 1 << 20)).unwrap();
        prop_assert_eq!(read_all(&store), []);
    }
}
