//! Work that is counted as it is done, never reckoned before.

/// What has been done, in units of [`Bounds::work_a_turn`](super::bounds::Bounds::work_a_turn), and how much may be:
/// who goes in steps stops after the first with which that is reached.
#[derive(Debug, Default)]
pub struct Effort {
    spent: usize,
    max: usize,
}

impl Effort {
    /// None yet, of so much.
    pub fn new(max: usize) -> Effort {
        Effort { spent: 0, max }
    }

    /// None yet, and there may be any.
    pub fn unbounded() -> Effort {
        Effort::new(usize::MAX)
    }

    /// So much has been done.
    pub fn spend(&mut self, work: usize) {
        self.spent += work;
    }

    /// How much has been done.
    pub fn spent(&self) -> usize {
        self.spent
    }

    /// Whether that is enough.
    pub fn is_spent(&self) -> bool {
        self.spent >= self.max
    }
}
