//! From local times to instants: the one selection rule for everything that lives on a wall clock.
//!
//! A [`Cursor`] yields local times, ascending. A [`Walk`] goes through the zone's segments and turns them into
//! instants, lazily and in order, never stepping from one instant to the next:
//!
//! * inside a segment an instant is the local time minus the offset, and the times that the segment before has
//!   already shown (a fold) are passed over;
//! * local times inside the gap before a segment are read with the offset before it. They fall into the first part
//!   of the segment, so there two cursors are merged; equal instants come once.
//!
//! # Invariants
//!
//! * **W1** yielded instants are strictly increasing;
//! * **W2** what is yielded does not depend on where the walk began, apart from what lies before its start.

use super::civil;
use super::cron::CronCursor;
use super::foreign::CrateCursor;
use super::interval::IntervalCursor;
use super::rrule::SetCursor;
use super::steps::step;
use super::zone::{Segment, Zone};

/// An ascending stream of local times, of any kind of schedule. Forward only.
#[derive(Clone, Debug)]
pub(crate) enum Cursor<'a> {
    Cron(CronCursor<'a>),
    Interval(IntervalCursor),
    Rule(SetCursor<'a>),
    Crate(CrateCursor<'a>),
}

impl Cursor<'_> {
    /// The local time that the cursor stands at. `None`: the stream has ended.
    fn peek(&self) -> Option<i64> {
        match self {
            Self::Cron(cursor) => cursor.peek(),
            Self::Interval(cursor) => cursor.peek(),
            Self::Rule(cursor) => cursor.peek(),
            Self::Crate(cursor) => cursor.peek(),
        }
    }

    fn advance(&mut self) {
        match self {
            Self::Cron(cursor) => cursor.advance(),
            Self::Interval(cursor) => cursor.advance(),
            Self::Rule(cursor) => cursor.advance(),
            Self::Crate(cursor) => cursor.advance(),
        }
    }

    /// Moves on to the first local time that is not before `from`.
    fn advance_to(&mut self, from: i64) {
        match self {
            Self::Cron(cursor) => cursor.advance_to(from),
            Self::Interval(cursor) => cursor.advance_to(from),
            Self::Rule(cursor) => cursor.advance_to(from),
            Self::Crate(cursor) => cursor.advance_to(from),
        }
    }
}

/// An instant that a schedule fires at, and the local time it stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hit {
    pub(crate) at: i64,
    /// What the schedule asked for; inside a gap no clock shows it.
    pub(crate) wanted: i64,
}

/// The instants of a stream of local times. See the module.
#[derive(Clone, Debug)]
pub(crate) struct Walk<'a> {
    zone: &'a Zone,
    segment: Segment,
    main: Cursor<'a>,
    pushed: Option<Pushed<'a>>,
    /// W1: only later instants are yielded.
    last: i64,
}

/// Local times inside the gap before the current segment.
#[derive(Clone, Debug)]
struct Pushed<'a> {
    cursor: Cursor<'a>,
    /// The first local time after the gap.
    end: i64,
    /// The offset before the gap.
    offset: i64,
}

impl Pushed<'_> {
    fn peek(&self) -> Option<Hit> {
        let wanted = self.cursor.peek().filter(|&local| local < self.end)?;
        Some(Hit {
            at: wanted - self.offset,
            wanted,
        })
    }
}

impl<'a> Walk<'a> {
    /// A walk over the instants from `start` on; `stream` makes a cursor at a local time.
    pub(crate) fn new(zone: &'a Zone, start: i64, stream: impl FnOnce(i64) -> Cursor<'a>) -> Self {
        let segment = zone.segment_at(start);
        let from = (start + segment.offset).max(segment.fresh_from());
        // Times pushed out of the gap that are not before the start.
        let gap_from = start + segment.before;
        let in_gap = segment.gap() > 0 && gap_from < segment.start + segment.offset;
        let mut walk = Self {
            zone,
            segment,
            main: stream(if in_gap { gap_from } else { from }),
            pushed: None,
            last: start - 1,
        };
        if in_gap {
            walk.enter_gap();
            walk.main.advance_to(from);
        }
        walk
    }

    /// Splits off the times inside the gap, where the main cursor stands.
    fn enter_gap(&mut self) {
        let end = self.segment.start + self.segment.offset;
        if self.main.peek().is_some_and(|local| local < end) {
            self.pushed = Some(Pushed {
                cursor: self.main.clone(),
                end,
                offset: self.segment.before,
            });
            self.main.advance_to(end);
        }
    }

    /// The next instant of the current segment.
    fn next_here(&mut self) -> Option<Hit> {
        let main = self.main.peek().filter(|&local| local < self.segment.local_end());
        let main = main.map(|wanted| Hit {
            at: wanted - self.segment.offset,
            wanted,
        });
        let Some(pushed) = &mut self.pushed else {
            main?;
            self.main.advance();
            return main;
        };
        let gap = pushed.peek();
        match (gap, main) {
            (Some(gap), main) if main.is_none_or(|main| gap.at <= main.at) => {
                pushed.cursor.advance();
                if main.is_some_and(|main| main.at == gap.at) {
                    self.main.advance();
                    return main;
                }
                Some(gap)
            }
            (None, _) => {
                self.pushed = None;
                self.next_here()
            }
            (_, main) => {
                self.main.advance();
                main
            }
        }
    }

    /// Goes to the segment that the next local time leads to, or nearer. False: there is none.
    fn next_segment(&mut self) -> bool {
        step();
        let Some(local) = self.main.peek() else {
            return false;
        };
        let near = self.zone.segment_before_local(local);
        self.segment = if near.start > self.segment.start {
            near
        } else if self.segment.end == i64::MAX {
            return false;
        } else {
            self.zone.segment_at(self.segment.end)
        };
        self.pushed = None;
        self.main
            .advance_to(self.segment.fresh_from() - self.segment.gap());
        self.enter_gap();
        true
    }
}

impl Iterator for Walk<'_> {
    type Item = Hit;

    fn next(&mut self) -> Option<Hit> {
        loop {
            while let Some(hit) = self.next_here() {
                if hit.at > self.last {
                    self.last = hit.at;
                    return (hit.at <= civil::LAST).then_some(hit);
                }
            }
            if !self.next_segment() {
                return None;
            }
        }
    }
}
