//! Slot decay: an exact leaky bucket in integers (L5).
//!
//! A bucket's level is a number of *drops*; a slot is 2^64 · 10^9 drops, and a rate is a whole number of drops per
//! nanosecond. Draining for `a` and then for `b` nanoseconds is therefore the same, to the last drop, as draining for
//! `a + b`: the level does not depend on when or how often anybody looked. (The reference stores whole slots and throws
//! the rest away at each write.)
//!
//! 2^64 steps per slot and second keep every `f64` rate of 2^-12 and above exactly as given, and slower ones to
//! 2^-65 slots per second. The greatest level, 2^32 slots, is 2^126 drops, so sums of two fit in a `u128`.

use std::time::Duration;

use super::spec::SpecError;

/// Drops in one slot.
const SLOT: u128 = (1 << 64) * 1_000_000_000;

/// How fast a bucket drains.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Rate {
    drops_per_nano: u128,
}

impl Rate {
    /// The slowest rate: one slot in about 32 years.
    pub(super) const MIN_PER_SECOND: f64 = 1e-9;

    /// Reads a rate in slots per second; `None` for zero.
    pub(super) fn per_second(slots: f64) -> Result<Option<Self>, SpecError> {
        if !slots.is_finite() || slots < 0.0 {
            return Err(SpecError::DecayNotARate { decay: slots });
        }
        if slots == 0.0 {
            return Ok(None);
        }
        if slots < Self::MIN_PER_SECOND {
            return Err(SpecError::DecayTooSlow { decay: slots });
        }
        // 2^64 is a power of two, so the product is exact; a rate past 2^64 slots a second saturates and drains
        // any bucket within a nanosecond, as it would anyway.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked positive; a fraction of a drop is below the stated resolution"
        )]
        let drops_per_nano = (slots * 18_446_744_073_709_551_616.0) as u128;
        Ok(Some(Self { drops_per_nano }))
    }
}

/// How full a bucket was at one moment. Draining since then is computed when asked for, never stored.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Bucket {
    drops: u128,
    /// Nanoseconds of monotonic time.
    as_of: u64,
}

impl Bucket {
    /// A bucket that holds `drops` drops at `now`.
    pub(super) fn new(drops: u128, now: Duration) -> Self {
        Self {
            drops,
            as_of: nanos(now),
        }
    }

    /// A bucket that holds whole slots at `now`.
    pub(super) fn of_slots(slots: u64, now: Duration) -> Self {
        Self::new(u128::from(slots).saturating_mul(SLOT), now)
    }

    /// Drops in it at `now`. A `now` before the last change is taken as that change: time never goes back.
    pub(super) fn drops(self, rate: Rate, now: Duration) -> u128 {
        let elapsed = nanos(now).saturating_sub(self.as_of);
        self.drops
            .saturating_sub(rate.drops_per_nano.saturating_mul(u128::from(elapsed)))
    }

    /// Slots in use at `now`, a begun one counted whole.
    pub(super) fn slots(self, rate: Rate, now: Duration) -> u64 {
        u64::try_from(self.drops(rate, now).div_ceil(SLOT)).unwrap_or(u64::MAX)
    }

    /// Whether `weight` more slots fit under `slots`.
    pub(super) fn fits(self, rate: Rate, slots: u32, weight: u32, now: Duration) -> bool {
        self.drops(rate, now).saturating_add(u128::from(weight) * SLOT) <= u128::from(slots) * SLOT
    }

    /// Time from `now` until `weight` more slots fit; `None` if they never will.
    ///
    /// Exact: they fit at that nanosecond, and not one earlier.
    pub(super) fn fits_in(self, rate: Rate, slots: u32, weight: u32, now: Duration) -> Option<Duration> {
        let room = u128::from(slots.checked_sub(weight)?) * SLOT;
        let excess = self.drops(rate, now).saturating_sub(room);
        let wait = excess.div_ceil(rate.drops_per_nano);
        // A stored moment ahead of `now` drains nothing until then.
        let ahead = self.as_of.saturating_sub(nanos(now));
        let ahead = if excess == 0 { 0 } else { ahead };
        Some(Duration::from_nanos(
            u64::try_from(wait).unwrap_or(u64::MAX).saturating_add(ahead),
        ))
    }

    /// What a pour is added to.
    fn kept(self, rate: Rate, now: Duration) -> u128 {
        let drops = self.drops(rate, now);
        if fault!(FractionsAreLost) {
            return drops.div_ceil(SLOT) * SLOT;
        }
        drops
    }

    /// Adds whole slots.
    pub(super) fn pour(&mut self, rate: Rate, weight: u32, now: Duration) {
        self.set(
            self.kept(rate, now).saturating_add(u128::from(weight) * SLOT),
            now,
        );
    }

    /// Takes whole slots out, never below empty.
    pub(super) fn drain(&mut self, rate: Rate, weight: u32, now: Duration) {
        self.set(
            self.drops(rate, now).saturating_sub(u128::from(weight) * SLOT),
            now,
        );
    }

    /// Goes on at another rate from `now`.
    pub(super) fn settle(&mut self, rate: Rate, now: Duration) {
        self.set(self.drops(rate, now), now);
    }

    fn set(&mut self, drops: u128, now: Duration) {
        self.drops = drops;
        self.as_of = self.as_of.max(nanos(now));
    }
}

/// Nanoseconds of a monotonic reading; saturates after 584 years.
fn nanos(now: Duration) -> u64 {
    now.as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(now.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(slots: f64) -> Rate {
        Rate::per_second(slots).unwrap().unwrap()
    }

    #[test]
    fn l5_a_rate_is_a_finite_number_above_zero() {
        assert_eq!(Rate::per_second(0.0), Ok(None));
        assert_eq!(Rate::per_second(-0.0), Ok(None));
        for wrong in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e-300] {
            assert!(matches!(
                Rate::per_second(wrong),
                Err(SpecError::DecayNotARate { .. })
            ));
        }
        assert!(matches!(
            Rate::per_second(f64::MIN_POSITIVE),
            Err(SpecError::DecayTooSlow { .. })
        ));
        assert!(Rate::per_second(f64::MAX).unwrap().is_some());
    }

    #[test]
    fn l5_the_greatest_bucket_fits_in_its_integer() {
        let mut bucket = Bucket::of_slots(u64::from(u32::MAX), Duration::ZERO);
        let slow = rate(Rate::MIN_PER_SECOND);
        assert!(!bucket.fits(slow, u32::MAX, u32::MAX, Duration::ZERO));
        bucket.pour(slow, u32::MAX, Duration::ZERO);
        bucket.pour(slow, u32::MAX, Duration::ZERO);
        assert!(u64::from(u32::MAX) <= bucket.slots(slow, Duration::MAX));
        assert_eq!(bucket.slots(rate(f64::MAX), Duration::from_nanos(1)), 0);
    }

    #[test]
    fn l5_the_wait_is_right_to_the_nanosecond() {
        let third = rate(1.0 / 3.0);
        let bucket = Bucket::of_slots(5, Duration::from_secs(7));
        let now = Duration::from_secs(8);
        let wait = bucket.fits_in(third, 5, 2, now).unwrap();
        assert!(bucket.fits(third, 5, 2, now + wait));
        let just_before = now + wait.saturating_sub(Duration::from_nanos(1));
        assert!(!bucket.fits(third, 5, 2, just_before));
        assert_eq!(bucket.fits_in(third, 5, 6, now), None);
    }

    #[test]
    fn a_reading_before_the_last_change_changes_nothing() {
        let one = rate(1.0);
        let mut bucket = Bucket::of_slots(2, Duration::from_secs(10));
        bucket.drain(one, 1, Duration::from_secs(4));
        assert_eq!(bucket, Bucket::of_slots(1, Duration::from_secs(10)));
        let wait = bucket.fits_in(one, 1, 1, Duration::from_secs(4)).unwrap();
        assert_eq!(wait, Duration::from_secs(7));
    }
}
