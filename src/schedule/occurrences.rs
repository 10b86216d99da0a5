//! The lazy iterator over a schedule's dates, layer on layer: the rule, bounds and exclusions, jitter, the range.

use chrono::{DateTime, Utc};

use super::civil;
use super::interval::{Interval, IntervalCursor};
use super::settings::{Jitter, Settings};
use super::steps::step;
use super::walk::{Cursor, Hit, Walk};
use super::zone::Zone;
use super::{Rule, Schedule};

/// The dates of a [`Schedule`] in a range, ascending. Made by [`Schedule::occurrences`].
///
/// Lazy: a step costs tens of nanoseconds and allocates nothing. It holds no clock and no lock.
#[derive(Clone, Debug)]
pub struct Occurrences<'a> {
    dates: Dates<'a>,
    from: i64,
    until: i64,
    jitter: Option<(Jitter, Option<Hit>)>,
}

impl<'a> Occurrences<'a> {
    pub(crate) fn new(schedule: &'a Schedule, from: i64, until: i64) -> Self {
        let jitter = schedule.settings.as_deref().and_then(|settings| settings.jitter);
        let lead = jitter.map_or(0, |jitter| jitter.max);
        let mut dates = Dates::new(schedule, (from - lead).max(civil::FIRST));
        let jitter = jitter.map(|jitter| (jitter, dates.next()));
        Self {
            dates,
            from,
            until,
            jitter,
        }
    }

    /// The next date: the instant, and the date of the rule that it comes from.
    pub(crate) fn next_hit(&mut self) -> Option<(i64, Hit)> {
        let Some((jitter, ahead)) = &mut self.jitter else {
            let hit = self.dates.next()?;
            return (hit.at <= self.until).then_some((hit.at, hit));
        };
        loop {
            let hit = ahead.filter(|hit| hit.at <= self.until)?;
            *ahead = self.dates.next();
            let at = jitter.moved(hit.at, ahead.map(|next| next.at));
            if at >= self.from {
                return (at <= self.until).then_some((at, hit));
            }
        }
    }
}

impl Iterator for Occurrences<'_> {
    type Item = DateTime<Utc>;

    fn next(&mut self) -> Option<DateTime<Utc>> {
        self.next_hit().map(|(at, _)| civil::instant_of(at))
    }
}

/// The dates of the rule inside the schedule's bounds and outside its exclusions.
#[derive(Clone, Debug)]
struct Dates<'a> {
    schedule: &'a Schedule,
    settings: Option<&'a Settings>,
    source: Source<'a>,
    end: i64,
}

impl<'a> Dates<'a> {
    fn new(schedule: &'a Schedule, from: i64) -> Self {
        let settings = schedule.settings.as_deref();
        let start = settings
            .and_then(|settings| settings.start)
            .unwrap_or(civil::FIRST);
        Self {
            schedule,
            settings,
            source: Source::new(&schedule.rule, from.max(start)),
            end: settings.and_then(|settings| settings.end).unwrap_or(civil::LAST),
        }
    }
}

impl Iterator for Dates<'_> {
    type Item = Hit;

    fn next(&mut self) -> Option<Hit> {
        let Some(settings) = self.settings else {
            return self.source.next();
        };
        // Each turn passes over one exclusion, or one run of excluded days; there are 10,000 at most.
        loop {
            step();
            let hit = self.source.next().filter(|hit| hit.at <= self.end)?;
            match settings.excluded_until(hit.at, self.schedule.zone()) {
                None => return Some(hit),
                Some(until) if until > hit.at + 1 => {
                    self.source = Source::new(&self.schedule.rule, until);
                }
                Some(_) => {}
            }
        }
    }
}

/// The dates of a rule alone.
#[derive(Clone, Debug)]
enum Source<'a> {
    Elapsed {
        interval: Interval,
        zone: &'a Zone,
        next: Option<i64>,
    },
    Wall(Walk<'a>),
    Anchored(Anchored<'a>),
    Union(Vec<Member<'a>>),
}

/// Wall-clock dates of an interval whose anchor lies in the second pass of a fold, and keeps its own instant.
#[derive(Clone, Debug)]
struct Anchored<'a> {
    walk: Walk<'a>,
    /// The anchor's local time in the first pass.
    first_pass: i64,
    anchor: Hit,
    /// The walk began between the two, so the anchor comes first.
    owed: bool,
}

#[derive(Clone, Debug)]
struct Member<'a> {
    dates: Occurrences<'a>,
    head: Option<(i64, Hit)>,
    zone: &'a Zone,
}

impl<'a> Source<'a> {
    fn new(rule: &'a Rule, from: i64) -> Self {
        match rule {
            Rule::Cron(cron, zone) => Self::Wall(Walk::new(zone, from, |local| {
                Cursor::Cron(super::cron::CronCursor::new(cron, local))
            })),
            Rule::Recurrence(set, zone) => Self::Wall(Walk::new(zone, from, |local| {
                Cursor::Rule(super::rrule::SetCursor::new(set, local))
            })),
            Rule::CronCrate(of, zone) => Self::Wall(Walk::new(zone, from, |local| {
                Cursor::Crate(super::foreign::CrateCursor::new(of, local))
            })),
            Rule::Interval(interval, zone) => Self::interval(*interval, zone, from),
            Rule::Union(members) => Self::Union(
                members
                    .iter()
                    .map(|schedule| {
                        let mut dates = Occurrences::new(schedule, from, civil::LAST);
                        let head = dates.next_hit();
                        Member {
                            dates,
                            head,
                            zone: schedule.zone(),
                        }
                    })
                    .collect(),
            ),
        }
    }

    fn interval(interval: Interval, zone: &'a Zone, from: i64) -> Self {
        if !interval.is_wall() {
            return Self::Elapsed {
                interval,
                zone,
                next: interval.first_from(interval.anchor, from),
            };
        }
        let walk = Walk::new(zone, from, |local| {
            Cursor::Interval(IntervalCursor::new(interval, zone, local))
        });
        let anchor = Hit {
            at: interval.anchor,
            wanted: zone.local(interval.anchor),
        };
        let first_pass = zone.resolve(anchor.wanted);
        if first_pass == anchor.at {
            return Self::Wall(walk);
        }
        Self::Anchored(Anchored {
            walk,
            first_pass,
            anchor,
            owed: first_pass < from && from <= anchor.at,
        })
    }

    fn next(&mut self) -> Option<Hit> {
        match self {
            Self::Wall(walk) => walk.next(),
            Self::Elapsed { interval, zone, next } => {
                let at = (*next)?;
                *next = at.checked_add(interval.every).filter(|&next| next <= civil::LAST);
                Some(Hit {
                    at,
                    wanted: zone.local(at),
                })
            }
            Self::Anchored(anchored) => {
                if std::mem::take(&mut anchored.owed) {
                    return Some(anchored.anchor);
                }
                let hit = anchored.walk.next()?;
                Some(if hit.at == anchored.first_pass {
                    anchored.anchor
                } else {
                    hit
                })
            }
            Self::Union(members) => {
                let first = members.iter().filter(|member| member.head.is_some());
                let first = first.min_by_key(|member| member.head.map(|(at, _)| at))?;
                let ((at, hit), zone) = (first.head?, first.zone);
                for member in members
                    .iter_mut()
                    .filter(|member| member.head.is_some_and(|(head, _)| head == at))
                {
                    member.head = member.dates.next_hit();
                }
                // What a member in the union's own zone asked for can still be told.
                let wanted = if at == hit.at { hit.wanted } else { zone.local(at) };
                Some(Hit { at, wanted })
            }
        }
    }
}
