//! Schedules in the dialect of the `cron` crate, evaluated by that crate on a bare wall clock.
//!
//! Seven fields with seconds *first*, weekdays from 1 = Sunday, both day fields combined with *and*. Its years end
//! in 2100, and so does such a schedule.

use std::str::FromStr;

use super::civil::{self, SECOND};
use super::error::{ScheduleError, ScheduleErrorKind};

/// Longest text, in bytes.
const LENGTH_MAX: usize = 2_000;
const EXAMPLE: &str = "0 30 9 * * Mon-Fri *";

/// A parsed schedule of that crate.
#[derive(Clone, Debug)]
pub(crate) struct CronCrate {
    pub(crate) schedule: Box<cron::Schedule>,
}

impl CronCrate {
    pub(crate) fn parse(text: &str) -> Result<Self, ScheduleError> {
        let refuse = |problem: String| {
            ScheduleError::new(ScheduleErrorKind::Cron, "cron_crate", text, problem, EXAMPLE)
        };
        if text.len() > LENGTH_MAX {
            return Err(refuse(format!(
                "{} bytes are too many, at most {LENGTH_MAX} are read",
                text.len()
            )));
        }
        let schedule = cron::Schedule::from_str(text).map_err(|error| {
            let told = error.to_string();
            let first = told.lines().next().unwrap_or_default().trim_end_matches('.');
            refuse(format!("the `cron` crate refuses it ({first})"))
        })?;
        Self::of(schedule)
    }

    pub(crate) fn of(schedule: cron::Schedule) -> Result<Self, ScheduleError> {
        let this = Self {
            schedule: Box::new(schedule),
        };
        if CrateCursor::new(&this, civil::FIRST).peek().is_some() {
            Ok(this)
        } else {
            Err(ScheduleError::new(
                ScheduleErrorKind::NeverFires,
                "cron_crate",
                this.text(),
                "no time matches up to the year 2100, so it never fires",
                EXAMPLE,
            ))
        }
    }

    pub(crate) fn text(&self) -> &str {
        self.schedule.source()
    }
}

impl PartialEq for CronCrate {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for CronCrate {}

/// Walks the local times of such a schedule. Forward only.
#[derive(Clone, Debug)]
pub(crate) struct CrateCursor<'a> {
    of: &'a CronCrate,
    next: Option<i64>,
}

impl<'a> CrateCursor<'a> {
    pub(crate) fn new(of: &'a CronCrate, from: i64) -> Self {
        // The crate looks strictly after a time and knows no year before 1970.
        let before = from.max(0).saturating_sub(1).div_euclid(SECOND) * SECOND;
        let mut cursor = Self {
            of,
            next: Some(before),
        };
        if from <= civil::LAST {
            cursor.advance();
        } else {
            cursor.next = None;
        }
        cursor
    }

    pub(crate) fn peek(&self) -> Option<i64> {
        self.next
    }

    pub(crate) fn advance(&mut self) {
        self.next = self.next.and_then(|next| {
            let after = civil::instant_of(next);
            Some(self.of.schedule.after(&after).next()?.timestamp_micros())
        });
    }

    pub(crate) fn advance_to(&mut self, from: i64) {
        if self.next.is_some_and(|next| next < from) {
            *self = Self::new(self.of, from);
        }
    }
}
