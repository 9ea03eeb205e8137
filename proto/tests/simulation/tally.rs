//! What runs did, and whether what they are for did happen.

/// What runs did, summed.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub rounds: u64,
    pub dials: u64,
    pub stale: u64,
    pub gone: u64,
    pub orphaned: u64,
    pub abrupt: u64,
    pub instances: u64,
    pub finished: u64,
    pub refused: u64,
    pub reset: u64,
    pub bytes: u64,
    pub micros: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        let Self {
            rounds,
            dials,
            stale,
            gone,
            orphaned,
            abrupt,
            instances,
            finished,
            refused,
            reset,
            bytes,
            micros,
        } = other;
        self.rounds = self.rounds.max(*rounds);
        self.dials += dials;
        self.stale += stale;
        self.gone += gone;
        self.orphaned += orphaned;
        self.abrupt += abrupt;
        self.instances += instances;
        self.finished += finished;
        self.refused += refused;
        self.reset += reset;
        self.bytes += bytes;
        self.micros = self.micros.max(*micros);
    }

    /// What the simulation is for did happen.
    pub fn check_coverage(&self) {
        let Self { stale, gone, orphaned, abrupt, finished, refused, reset, .. } = self;
        let each = [stale, gone, orphaned, abrupt, finished, refused, reset];
        assert!(each.iter().all(|&&count| count > 0), "something never happened: {self:?}");
    }
}
