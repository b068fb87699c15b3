//! What a log's directory holds.

use std::io;
use std::path::{Path, PathBuf};

use super::io::{File, Io, read_full_at};
use super::segment::{HEADER_BYTES, Header, HeaderError, Name, name};

/// The files of a directory, by their names.
#[derive(Debug, Default)]
pub struct Catalog {
    /// The first sequences of the segments, in order.
    pub segments: Vec<u64>,
    /// Segments that were never whole.
    pub unfinished: Vec<PathBuf>,
    /// What is named like a segment, but not well.
    pub misnamed: Vec<PathBuf>,
}

impl Catalog {
    /// Looks into a directory.
    pub fn read(io: &dyn Io, dir: &Path) -> io::Result<Catalog> {
        let mut catalog = Catalog::default();
        for name in io.list(dir)? {
            match Name::parse(&name) {
                Name::Segment(first) => catalog.segments.push(first),
                Name::Unfinished => catalog.unfinished.push(dir.join(name)),
                Name::Misnamed => catalog.misnamed.push(dir.join(name)),
                Name::Other => {}
            }
        }
        catalog.segments.sort_unstable();
        catalog.misnamed.sort_unstable();
        Ok(catalog)
    }
}

/// A segment file, open, with its header read.
pub struct Opened {
    /// The file.
    pub file: Box<dyn File>,
    /// Its header.
    pub header: Header,
    /// Its length.
    pub bytes: u64,
}

/// Why a segment can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It can't be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is none.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It was renamed.
    #[error("it begins with sequence {first}, which its name does not say")]
    Renamed {
        /// What its header says.
        first: u64,
    },
}

/// Opens a segment and reads its header.
///
/// # Errors
/// A [`SegmentError`]; the caller knows the file.
pub fn open(io: &dyn Io, dir: &Path, first: u64, write: bool) -> Result<Opened, SegmentError> {
    let file = io.open(&dir.join(name(first)), write)?;
    let mut bytes = [0; HEADER_BYTES];
    let read = read_full_at(&*file, &mut bytes, 0)?;
    let header = Header::decode(&bytes[..read])?;
    if header.first != first {
        return Err(SegmentError::Renamed { first: header.first });
    }
    let bytes = file.bytes()?;
    Ok(Opened { file, header, bytes })
}
