//! A year on a manual clock: what fires is what the schedule says and what a preview listed, whatever happens meanwhile;
//! and a thousand schedules give the same year each time.

#![expect(clippy::unwrap_used, reason = "a test panics when it is wrong")]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tenfold::clock::{Clock, ManualClock};
use tenfold::engine::{CatchUp, Outcome, Totals};
use tenfold::model::NewSchedule;
use tenfold::{Claims, DeploymentId, DeploymentPatch, Engine, NewDeployment, Priority, Schedule, Scope};

const START: &str = "2026-01-01T00:00:00Z";
const HOUR: Duration = Duration::from_hours(1);

fn start() -> DateTime<Utc> {
    START.parse().unwrap()
}

fn deep() -> bool {
    std::env::var_os("TENFOLD_DEEP").is_some_and(|deep| deep != "0")
}

/// A small seeded generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) % n
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// Schedules of every kind, in zones whose clocks change.
fn shapes() -> Vec<Schedule> {
    let zone = "America/New_York";
    let shapes: [Value; 14] = [
        json!({"cron": "0 * * * *", "timezone": zone}),
        json!({"cron": "30 2 * * *", "timezone": zone}),
        json!({"cron": "15 1,23 * * 0,6", "timezone": "Europe/Berlin"}),
        json!({"cron": "0 0 L * *", "timezone": "Australia/Lord_Howe"}),
        json!({"cron": "*/45 3 * * 1#2", "timezone": "Africa/Casablanca"}),
        json!({"interval": 5400, "anchor_date": START, "timezone": zone}),
        json!({"interval": 86_400, "anchor_date": "2026-01-01T07:30:00Z", "timezone": zone}),
        json!({"interval": 129_600, "anchor_date": START, "timezone": "Pacific/Chatham"}),
        json!({"rrule": "FREQ=WEEKLY;BYDAY=MO,SA;BYHOUR=2,9;BYMINUTE=30", "timezone": "Europe/London"}),
        json!({"rrule": "DTSTART:20260301T000000\nRRULE:FREQ=HOURLY;INTERVAL=5;COUNT=400\nEXDATE:20260302T050000",
            "timezone": "America/St_Johns"}),
        json!({"cron": "20 */3 * * *", "timezone": zone, "jitter": 600, "seed": 7}),
        json!({"cron": "10 4 * * *", "timezone": zone, "start": "2026-02-01T00:00:00Z", "end": "2026-11-20T00:00:00Z",
            "exclude": ["2026-03-08", "2026-07-04"]}),
        json!({"union": [{"cron": "0 6 * * *", "timezone": "Asia/Kathmandu"}, {"cron": "30 2 * * 0", "timezone": zone}]}),
        json!({"cron_crate": "0 5 7,19 * * * *", "timezone": "Europe/Lisbon"}),
    ];
    let read = |shape: &Value| Schedule::from_json_at(shape, start()).unwrap();
    shapes.iter().map(read).collect()
}

/// One slug of the deployment: what it is now and since when, and what it should have fired before.
#[derive(Default)]
struct Line {
    now: Option<(Schedule, DateTime<Utc>)>,
    expected: BTreeSet<DateTime<Utc>>,
    called_off: BTreeSet<DateTime<Utc>>,
    fired: Vec<DateTime<Utc>>,
}

impl Line {
    fn close(&mut self, at: DateTime<Utc>) {
        if let Some((schedule, since)) = self.now.take() {
            self.expected.extend(schedule.occurrences(since..=at));
        }
    }
}

/// An engine on its way through the year, and what should happen to it.
struct Year {
    engine: Engine,
    clock: ManualClock,
    deployment: DeploymentId,
    lines: BTreeMap<&'static str, Line>,
    paused: bool,
}

impl Year {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::at(start());
        let engine = Engine::builder()
            .clock(clock.clone())
            .seed(seed)
            .catch_up(CatchUp::All(5_000))
            .build()
            .unwrap();
        let deployment = engine.deploy(NewDeployment::new("f", "d")).unwrap().id;
        let lines = ["a", "b", "c"].map(|slug| (slug, Line::default()));
        Self {
            engine,
            clock,
            deployment,
            lines: lines.into(),
            paused: false,
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.engine.now().unwrap()
    }

    /// Claims and ends all that is due.
    fn drain(&mut self) {
        while let Ok(claim) = self.engine.claim(&Scope::all()).unwrap() {
            let run = self.engine.run(claim.run()).unwrap();
            let slug = run.created_by.unwrap().display_value.unwrap();
            let line = self.lines.get_mut(&*slug).unwrap();
            line.fired.push(run.expected_start_time.unwrap());
            self.engine
                .complete(&claim, Outcome::Completed(1.into()))
                .unwrap();
        }
    }

    /// Puts the schedules on the deployment that the lines say.
    fn apply(&self) {
        let schedules = self.lines.iter().filter_map(|(slug, line)| {
            let (schedule, _) = line.now.clone()?;
            Some(NewSchedule::new(schedule).slug(*slug))
        });
        let patch = DeploymentPatch::new().schedules(schedules.collect());
        self.engine.update_deployment(self.deployment, patch).unwrap();
    }

    /// Another schedule under a slug, or none.
    fn edit(&mut self, slug: &'static str, schedule: Option<Schedule>) {
        let now = self.now();
        let line = self.lines.get_mut(slug).unwrap();
        if !self.paused {
            line.close(now);
        }
        line.now = schedule.map(|schedule| (schedule, now));
        self.apply();
    }

    fn pause(&mut self) {
        let now = self.now();
        if self.paused {
            self.engine.resume_deployment(self.deployment).unwrap();
        } else {
            self.engine.pause_deployment(self.deployment).unwrap();
        }
        for line in self.lines.values_mut() {
            let Some((schedule, _)) = line.now.clone() else {
                continue;
            };
            if !self.paused {
                line.close(now);
            }
            line.now = Some((schedule, now));
        }
        self.paused = !self.paused;
    }

    fn restart(&mut self) {
        let document = serde_json::to_string(&self.engine.export().unwrap()).unwrap();
        self.engine = Engine::builder()
            .clock(self.clock.clone())
            .import(serde_json::from_str(&document).unwrap(), Claims::Keep)
            .unwrap();
    }

    /// Calls off one of the next planned runs of a slug.
    fn call_off(&mut self, slug: &str, random: &mut Random) {
        let held = self.engine.deployment(self.deployment).unwrap();
        let Some(schedule) = held
            .schedules
            .iter()
            .find(|data| data.slug.as_deref() == Some(slug))
        else {
            return;
        };
        let told = self
            .engine
            .explain_schedule(self.deployment, schedule.id, 3)
            .unwrap();
        let waiting: Vec<_> = told
            .iter()
            .filter(|told| told.fires && told.run.is_some())
            .collect();
        if waiting.is_empty() {
            return;
        }
        let chosen = random.pick(&waiting);
        self.engine.cancel(chosen.run.unwrap()).unwrap();
        self.lines
            .get_mut(slug)
            .unwrap()
            .called_off
            .insert(chosen.date.at);
    }

    /// Planning again adds nothing, and previews are what the schedules say without what was called off.
    fn look(&self) {
        // Once, since what was called off leaves room.
        self.apply();
        let before = self.engine.snapshot().scheduled;
        self.apply();
        self.engine
            .update_deployment(self.deployment, DeploymentPatch::new())
            .unwrap();
        let again = if self.paused {
            self.engine.pause_deployment(self.deployment)
        } else {
            self.engine.resume_deployment(self.deployment)
        };
        again.unwrap();
        assert_eq!(self.engine.snapshot().scheduled, before, "planned twice");
        let held = self.engine.deployment(self.deployment).unwrap();
        let now = self.now();
        for data in &held.schedules {
            let line = &self.lines[data.slug.as_deref().unwrap()];
            let mut expected = Vec::new();
            if !self.paused {
                let left = |at: &DateTime<Utc>| !line.called_off.contains(at) && !line.fired.contains(at);
                expected.extend(data.schedule.occurrences(now..).filter(left).take(4));
            }
            let preview = self.engine.preview_schedule(self.deployment, data.id, 4).unwrap();
            assert_eq!(preview, expected, "{} at {now}", data.schedule);
        }
    }

    fn end(mut self) -> usize {
        let now = self.now();
        let mut count = 0;
        for (slug, mut line) in std::mem::take(&mut self.lines) {
            if !self.paused {
                line.close(now);
            }
            let expected: Vec<_> = line.expected.difference(&line.called_off).copied().collect();
            assert!(
                line.fired.is_sorted_by(|one, next| one < next),
                "{slug}: strictly increasing"
            );
            assert_eq!(line.fired, expected, "{slug}");
            count += line.fired.len();
        }
        count
    }
}

#[test]
fn s3_a_year_fires_what_previews_listed_through_jumps_restarts_and_edits() {
    let shapes = shapes();
    let mut fired = 0;
    for seed in 1..=if deep() { 200 } else { 6 } {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ seed << 17);
        let mut year = Year::new(seed);
        for slug in ["a", "b", "c"] {
            year.edit(slug, Some(random.pick(&shapes).clone()));
        }
        let end = start() + TimeDelta::days(365);
        while year.now() < end {
            year.drain();
            let slug = *random.pick(&["a", "b", "c"]);
            match random.below(60) {
                0 => year.edit(slug, Some(random.pick(&shapes).clone())),
                1 => year.edit(slug, None),
                2 | 3 => year.restart(),
                4 if random.below(3) == 0 || year.paused => year.pause(),
                5 | 6 => year.call_off(slug, &mut random),
                7..10 => year.look(),
                // An operator sets the clock: ahead, what was skipped is caught up; back, nothing fires twice.
                10 => year
                    .clock
                    .jump_to(year.clock.now().wall + TimeDelta::minutes(random.below(1_000).cast_signed())),
                11 => year
                    .clock
                    .jump_to(year.clock.now().wall - TimeDelta::minutes(random.below(600).cast_signed())),
                _ => {
                    // Sometimes to the very instant of the next occurrence, where edits are most delicate.
                    let next = year.engine.advance().unwrap();
                    let some = Duration::from_secs(random.below(20 * 3_600));
                    let exact = random.below(3) == 0;
                    year.clock
                        .advance(next.filter(|next| exact && *next < some).unwrap_or(some));
                }
            }
        }
        year.drain();
        fired += year.end();
    }
    assert!(fired > 1_000, "{fired}");
}

/// A thousand schedules in forty zones, most of them daily.
fn thousand() -> impl Iterator<Item = Schedule> {
    let zones = [
        "UTC",
        "America/New_York",
        "Europe/Berlin",
        "Australia/Sydney",
        "Asia/Tehran",
        "America/Santiago",
    ];
    (0..1_000_u32).map(move |n| {
        let zone = zones[n as usize % zones.len()];
        let (minute, hour) = (n * 7 % 60, n * 5 % 24);
        match n % 10 {
            0 => Schedule::interval(TimeDelta::hours(i64::from(20 + n % 30)), start(), zone),
            1 => Schedule::rrule(
                &format!("FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR={hour};BYMINUTE={minute}"),
                zone,
            ),
            2 => Schedule::cron(&format!("{minute} {hour} L * *"), zone),
            3 => Schedule::cron(&format!("{minute} {hour},{} * * 1-5", (hour + 6) % 24), zone),
            _ => Schedule::cron(&format!("{minute} {hour} * * *"), zone),
        }
        .unwrap()
    })
}

/// Runs them for so many days with two workers: a digest of everything that happened, in order.
fn digest(days: u32) -> (u64, Totals) {
    let clock = ManualClock::at(start());
    let engine = Engine::builder()
        .clock(clock.clone())
        .seed(7)
        .limit(2)
        .finished_runs(2_000)
        .build()
        .unwrap();
    for (n, schedule) in thousand().enumerate() {
        let level = Priority::new(u8::try_from(n % 10).unwrap() + 1).unwrap();
        let new = NewDeployment::new("f", format!("d{n}"))
            .priority(level)
            .schedule(schedule);
        engine.deploy(new).unwrap();
    }
    let mut history = DefaultHasher::new();
    let end = start() + TimeDelta::days(days.into());
    loop {
        while let Ok(claim) = engine.claim(&Scope::all()).unwrap() {
            engine.begin(&claim).unwrap();
            (claim.run(), claim.token(), claim.name(), engine.now().unwrap()).hash(&mut history);
            engine.complete(&claim, Outcome::Completed(Value::Null)).unwrap();
        }
        let step = engine.advance().unwrap().unwrap_or(HOUR);
        clock.advance(step);
        if clock.now().wall > end {
            break;
        }
    }
    let status = engine.snapshot();
    (status.version, status.totals.claimed).hash(&mut history);
    (history.finish(), status.totals)
}

#[test]
fn e1_a_year_of_a_thousand_schedules_is_the_same_each_time() {
    // A month in a plain run; the whole year, in a few seconds, in a deep one.
    let days = if deep() { 365 } else { 31 };
    #[expect(clippy::disallowed_methods, reason = "what it took is told to whoever looks")]
    let begin = std::time::Instant::now();
    let (first, totals) = digest(days);
    println!(
        "{days} days of 1,000 schedules: {} runs in {:?}",
        totals.completed,
        begin.elapsed()
    );
    assert_eq!(digest(days), (first, totals));
    assert!(totals.completed > u64::from(days) * 700, "{totals:?}");
    assert_eq!(
        (totals.missed, totals.accepted - totals.completed > 2_000),
        (0, true)
    );
}
