//! How much of anything a shard does at once.

/// The bounds of a shard's work. Those that ship are [`Bounds::SHIPPED`]; with smaller ones, a few streams and events
/// meet in tests what otherwise takes thousands.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many streams a cohort has, at most.
    pub cohort_streams: u32,
    /// After how many writes a pass looks for newer events, or pauses.
    pub piece_writes: u64,
    /// How many pairs of a frame and a cohort a pass gathers before it writes them.
    pub touched: usize,
    /// How many pairs may be left for newer ones to be put in order between them, which must cost little.
    pub touched_left: usize,
    /// How many frames a pass takes from the log under one lock,
    pub frames_a_lock: usize,
    /// and how many newer ones for the cohorts that are yet to be written to.
    pub newer_frames: usize,
    /// The longest run, in bytes, unless a single frame is longer.
    pub run_bytes: usize,
    /// How much a stream that is behind is served in one read of the log, in bytes,
    pub read_bytes: usize,
    /// and how often, before it is others' turn.
    pub reads_a_turn: usize,
    /// What conflation chooses at once, in bytes, unless a single frame is longer: a stream that is behind holds it
    /// even if it leaves the log.
    pub selection_bytes: usize,
    /// How much all streams that are behind may hold of what has left the log, in bytes.
    pub pinned_bytes: usize,
    /// After how many writes of a pass it is others' turn, unless the pass is late.
    pub writes_a_turn: u64,
    /// For how many streams one turn does what concerns all of them,
    pub walked_a_turn: u32,
    /// how many messages it takes,
    pub messages_a_turn: usize,
    /// how many streams that are behind it serves,
    pub served_a_turn: usize,
    /// and how many heartbeats it sends.
    pub heartbeats_a_turn: usize,
    /// How much work a turn does for new streams and for those behind before it is others' turn: a unit is
    /// some 30 ns.
    pub work_a_turn: usize,
}

impl Bounds {
    /// The bounds that ship; [`Bounds::pinned_bytes`] is a setting.
    pub const SHIPPED: Bounds = Bounds {
        cohort_streams: 512,
        piece_writes: 512,
        touched: 64 * 1024,
        touched_left: 4096,
        frames_a_lock: 4096,
        newer_frames: 64,
        run_bytes: 256 * 1024,
        read_bytes: 64 * 1024,
        reads_a_turn: 4,
        selection_bytes: 4 * 1024 * 1024,
        pinned_bytes: 64 * 1024 * 1024,
        writes_a_turn: 2048,
        walked_a_turn: 512,
        messages_a_turn: 1024,
        served_a_turn: 64,
        heartbeats_a_turn: 512,
        work_a_turn: 100_000,
    };

    /// Bounds that a few streams and events meet.
    #[cfg(test)]
    pub(crate) const SMALL: Bounds = Bounds {
        cohort_streams: 2,
        piece_writes: 2,
        writes_a_turn: 4,
        walked_a_turn: 3,
        touched: 16,
        touched_left: 12,
        ..Bounds::SHIPPED
    };
}
