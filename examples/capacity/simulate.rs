//! A week in the life of an engine, as fast as it can be computed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tenfold::clock::ManualClock;
use tenfold::{Claim, Engine, Error, Outcome, Scope};

use crate::load::Work;

const HOUR: u64 = 3600 * 1_000_000;
/// A Monday, at midnight, far from any change of clocks.
const START: &str = "2026-01-05T00:00:00Z";

/// One hour: means over its time, and the waits of the runs that started in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hour {
    /// Runs that waited, in the mean.
    pub queued: f64,
    /// Slots in use, in the mean.
    pub processing: f64,
    /// In seconds, ascending.
    waits: Vec<f64>,
}

impl Hour {
    /// The wait that this part of the hour's runs did not exceed; none when none started.
    pub fn wait(&self, part: f64) -> Option<f64> {
        quantile(&self.waits, part)
    }
}

/// What a week was like.
#[derive(Clone, Debug, PartialEq)]
pub struct Week {
    /// With so many slots.
    pub slots: u32,
    /// Hour by hour.
    pub hours: Vec<Hour>,
    /// Runs that still waited at the end.
    pub left: usize,
    /// Of these, those that had waited longer than an hour: nobody knows yet how long it will be.
    pub left_late: usize,
    /// In seconds, ascending.
    waits: Vec<f64>,
}

impl Week {
    /// How many runs started.
    pub fn started(&self) -> usize {
        self.waits.len()
    }

    /// The wait in seconds that this part of all runs did not exceed; 0 when none started.
    pub fn wait(&self, part: f64) -> f64 {
        quantile(&self.waits, part).unwrap_or(0.0)
    }

    /// The part of the slots that was in use, in the mean.
    pub fn busy(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "hours of a month")]
        let hours = self.hours.len() as f64;
        let used: f64 = self.hours.iter().map(|hour| hour.processing).sum();
        used / (hours * f64::from(self.slots))
    }
}

fn quantile(ascending: &[f64], part: f64) -> Option<f64> {
    let last = ascending.len().checked_sub(1)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index below the length"
    )]
    let at = (last as f64 * part).round() as usize;
    ascending.get(at).copied()
}

/// Time that passes: what was so from one instant to another is spread over the hours between.
struct Meter {
    hours: Vec<Hour>,
    at: u64,
}

impl Meter {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and microseconds of a month are exact"
    )]
    fn pass(&mut self, to: u64, queued: usize, processing: usize) {
        while self.at < to {
            let number = self.at / HOUR;
            let end = to.min((number + 1) * HOUR);
            let part = (end - self.at) as f64 / HOUR as f64;
            if let Some(hour) = usize::try_from(number)
                .ok()
                .and_then(|number| self.hours.get_mut(number))
            {
                hour.queued += queued as f64 * part;
                hour.processing += processing as f64 * part;
            }
            self.at = end;
        }
    }
}

/// Random durations: exponential, so that some runs take much longer than the mean. The same every time.
struct Durations(u64);

impl Durations {
    fn draw(&mut self, mean: f64) -> Duration {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let uniform = ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        Duration::from_secs_f64(-mean * uniform.ln())
    }
}

/// Lives through `days` with so many slots.
///
/// # Errors
///
/// What the engine refuses.
pub fn simulate(work: &[Work], slots: u32, days: u32) -> Result<Week, Error> {
    let start: DateTime<Utc> = START.parse().unwrap_or_default();
    let clock = ManualClock::at(start);
    let engine = Engine::builder()
        .limit(slots)
        .clock(clock.clone())
        .seed(1)
        .waiting_runs(1_000_000)
        .build()?;
    let mut means = HashMap::new();
    for one in work {
        means.insert(engine.deploy(one.deployment.clone())?.id, one.mean);
    }
    let end = u64::from(days) * 24 * HOUR;
    let hours = days as usize * 24;
    let mut meter = Meter {
        hours: vec![Hour::default(); hours],
        at: 0,
    };
    let mut durations = Durations(7);
    let mut waits = Vec::new();
    // Attempts that run, the first to end first; the number keeps apart those that end at one instant.
    let mut running: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
    let mut claims: HashMap<u64, Claim> = HashMap::new();
    let mut number = 0;
    while meter.at < end {
        while let Ok(claim) = engine.claim(&Scope::all())? {
            engine.begin(&claim)?;
            let due = engine.run(claim.run())?.expected_start_time;
            let wait = due.map_or(0, |due| {
                (engine_time(start, meter.at) - due)
                    .num_microseconds()
                    .unwrap_or(0)
            });
            #[expect(clippy::cast_precision_loss, reason = "microseconds of a month are exact")]
            let wait = wait as f64 / 1e6;
            waits.push(wait);
            if let Some(hour) = usize::try_from(meter.at / HOUR)
                .ok()
                .and_then(|hour| meter.hours.get_mut(hour))
            {
                hour.waits.push(wait);
            }
            let mean = claim
                .deployment()
                .and_then(|id| means.get(&id))
                .copied()
                .unwrap_or(1.0);
            running.push(Reverse((meter.at + micros(durations.draw(mean)), number)));
            claims.insert(number, claim);
            number += 1;
        }
        let soonest = engine
            .advance()?
            .map_or(end, |wait| meter.at.saturating_add(micros(wait)));
        let ending = running.peek().map_or(end, |Reverse((at, _))| *at);
        let next = soonest.min(ending).min(end);
        let status = engine.snapshot();
        clock.advance(Duration::from_micros(next - meter.at));
        meter.pass(next, status.queued_tasks, status.processing_tasks);
        while let Some(&Reverse((at, number))) = running.peek()
            && at <= next
        {
            running.pop();
            if let Some(claim) = claims.remove(&number) {
                engine.complete(&claim, Outcome::Completed(Value::Null))?;
            }
        }
    }
    let left = engine.snapshot().queued_tasks;
    let mut hours = meter.hours;
    for hour in &mut hours {
        hour.waits.sort_by(f64::total_cmp);
    }
    waits.sort_by(f64::total_cmp);
    Ok(Week {
        slots,
        hours,
        left,
        left_late: late(&engine)?,
        waits,
    })
}

/// Waiting runs that have been due for more than an hour.
fn late(engine: &Engine) -> Result<usize, Error> {
    use tenfold::filter::{Entity, Filter, Limits, Query};
    let text = "place in [ready, blocked] and expected_start_time < now - 1h";
    let filter = Filter::parse(Entity::Run, text, engine.now()?, &Limits::default())?;
    let count = engine.runs(&Query::new(filter))?.count;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn engine_time(start: DateTime<Utc>, at: u64) -> DateTime<Utc> {
    start + Duration::from_micros(at)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
