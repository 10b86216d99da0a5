//! Making ids: from engine time and the engine's seeded generator, so that the same calls make the same ids.

use uuid::Uuid;

use crate::ids::RunId;

/// A small, fast, seeded generator (`SplitMix64`): ids, names and jitter, nothing secret.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn state(&self) -> u64 {
        self.0
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Makes the ids of one engine.
///
/// Ids of runs are version 7 and ascend in the order of acceptance: 48 bits of milliseconds, 12 bits of a counter
/// inside the millisecond, then 30 random bits and the 32-bit row. So a run is found by its id without a map: take
/// the row out of the id, and compare the whole id with the one that the row holds. Ids of deployments are random (version 4) but
/// for the same 32 bits. Other ids are random.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    random: Random,
    /// Milliseconds and counter of the last run id, as one ascending number.
    last: u64,
}

impl Ids {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            last: 0,
        }
    }

    /// For export: generator state and last stamp.
    pub(crate) const fn state(&self) -> (u64, u64) {
        (self.random.state(), self.last)
    }

    pub(crate) const fn restore(state: (u64, u64)) -> Self {
        Self {
            random: Random::new(state.0),
            last: state.1,
        }
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        let bits = u128::from(self.random.next()) << 64 | u128::from(self.random.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// A random id of what lies in `row`.
    pub(crate) fn uuid_in(&mut self, row: u32) -> Uuid {
        let bits = self.uuid().as_u128() & !u128::from(u32::MAX) | u128::from(row);
        Uuid::from_u128(bits)
    }

    /// The id of a run that is accepted at `micros` and lies in `row`.
    pub(crate) fn run(&mut self, micros: i64, row: u32) -> RunId {
        let millis = u64::try_from(micros / 1000).unwrap_or(0) & 0xffff_ffff_ffff;
        // More than 4,096 in a millisecond borrow from the next one; the ids still ascend.
        self.last = (millis << 12).max(self.last + 1);
        let (millis, counter) = (u128::from(self.last >> 12), u128::from(self.last & 0xfff));
        let low = u128::from(self.random.next() >> 34) << 32 | u128::from(row);
        let bits = millis << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | low;
        RunId::from_uuid(Uuid::from_u128(bits))
    }
}

/// The row that an id made by [`Ids::run`] names. Any other id gives some number that will not fit its row.
pub(crate) const fn row_of(id: RunId) -> u32 {
    crate::catalog::row_in(id.uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_ascend_and_hold_their_row() {
        let mut ids = Ids::new(7);
        let made: Vec<RunId> = (0..10_000)
            .map(|row| ids.run(1_700_000_000_000_000 + i64::from(row) / 3, row))
            .collect();
        assert!(made.is_sorted_by(|a, b| a < b));
        for (row, id) in (0..).zip(&made) {
            assert_eq!(row_of(*id), row);
            assert_eq!(id.uuid().get_version_num(), 7);
            assert_eq!(id.uuid().get_variant(), uuid::Variant::RFC4122);
        }
        // A clock that stands still or goes back does not make them descend.
        assert!(ids.run(0, 1) > made[9_999]);
    }

    #[test]
    fn e1_the_same_seed_makes_the_same_ids() {
        let draw = |seed| {
            let mut ids = Ids::new(seed);
            (ids.uuid(), ids.run(5, 5))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_eq!(draw(1).0.get_version_num(), 4);
    }
}
