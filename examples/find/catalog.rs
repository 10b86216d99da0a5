//! A made-up catalog, the same every time.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tenfold::clock::ManualClock;
use tenfold::{Engine, Error, NewDeployment, NewPool, NewQueue, Outcome, Priority, Scope};

const VERBS: [&str; 8] = [
    "extract", "load", "export", "clean", "train", "score", "mail", "report",
];
const THINGS: [&str; 12] = [
    "orders", "users", "events", "invoices", "images", "clicks", "prices", "stock", "logs", "reviews",
    "routes", "tickets",
];
const PLACES: [&str; 9] = [
    "oslo", "lyon", "graz", "york", "bern", "gent", "kiel", "riga", "porto",
];
/// Each tag is on one in so many deployments.
const TAGS: [(&str, u64); 8] = [
    ("etl", 3),
    ("nightly", 4),
    ("prod", 2),
    ("test", 7),
    ("pii", 11),
    ("ml", 9),
    ("legacy", 50),
    ("rare", 5_000),
];
const POOLS: [&str; 3] = ["cpu", "gpu", "edge"];
const QUEUES: [&str; 3] = ["urgent", "normal", "bulk"];
/// Runs are made of the first so many deployments.
const RUNS: usize = 2_000;

/// The instant that is `now` in filters, and in the catalog.
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap_or_default()
}

/// What a deployment is made of.
#[derive(Debug)]
pub struct Made {
    pub flow: String,
    pub name: String,
    pub tags: Vec<&'static str>,
    pub priority: u8,
    pub paused: bool,
    pub version: Option<String>,
    /// Pool and queue.
    pub queue: Option<(&'static str, &'static str)>,
    pub limit: Option<NonZeroU32>,
}

/// The deployment of that number.
#[must_use]
pub fn deployment(number: usize) -> Made {
    let mut dice = Dice(number as u64);
    let (verb, thing) = (dice.pick(&VERBS), dice.pick(&THINGS));
    Made {
        flow: format!("{verb}-{thing}"),
        name: format!("{}-{number:06}", dice.pick(&PLACES)),
        tags: TAGS
            .iter()
            .filter(|(_, one_in)| dice.below(*one_in) == 0)
            .map(|(tag, _)| *tag)
            .collect(),
        priority: u8::try_from(1 + dice.below(10)).unwrap_or(1),
        paused: dice.below(6) == 0,
        version: (dice.below(4) > 0).then(|| format!("{}.{}", 1 + dice.below(3), dice.below(10))),
        queue: (dice.below(5) > 0).then(|| (dice.pick(&POOLS), dice.pick(&QUEUES))),
        limit: NonZeroU32::new(u32::try_from(dice.below(4)).unwrap_or(0)),
    }
}

/// An engine that holds the catalog.
///
/// # Errors
///
/// None in practice: what is made up follows the rules.
pub fn make(deployments: usize) -> Result<Engine, Error> {
    let clock = ManualClock::at(now() - chrono::Duration::days(1));
    let engine = Engine::builder().clock(clock.clone()).seed(1).build()?;
    for pool in POOLS {
        engine.create_pool(NewPool::named(pool))?;
        for queue in QUEUES {
            engine.create_queue(NewQueue::named(pool, queue))?;
        }
    }
    let mut busy = Vec::new();
    for number in 0..deployments {
        if number % 1_000 == 0 {
            clock.advance(Duration::from_secs(60));
        }
        let made = engine.deploy(form(deployment(number))?)?;
        if number < RUNS {
            busy.push(made.id);
        }
    }
    clock.jump_to(now());
    for &id in &busy {
        engine.submit(id)?;
    }
    // A third of the runs ends in one way or another, some are under way, the rest waits.
    for number in 0..busy.len() / 3 {
        let Ok(claim) = engine.claim(&Scope::all())? else {
            break;
        };
        engine.begin(&claim)?;
        match number % 5 {
            0 => {}
            1 => drop(engine.complete(&claim, Outcome::failed("no such file"))?),
            _ => drop(engine.complete(&claim, Outcome::Completed("done".into()))?),
        }
    }
    Ok(engine)
}

fn form(made: Made) -> Result<NewDeployment, Error> {
    let mut new = NewDeployment::new(made.flow, made.name).priority(Priority::new(made.priority)?);
    for tag in made.tags {
        new = new.tag(tag);
    }
    if made.paused {
        new = new.paused();
    }
    if let Some(version) = made.version {
        new = new.version(version);
    }
    if let Some((pool, queue)) = made.queue {
        new = new.work_queue(pool, queue);
    }
    if let Some(limit) = made.limit {
        new = new.concurrency_limit(limit);
    }
    Ok(new)
}

/// `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let at = self.below(items.len() as u64);
        items[usize::try_from(at).unwrap_or(0)]
    }
}
