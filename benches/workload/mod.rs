//! Every load that the benches put on the crate, each built from a seed and nothing else.
//!
//! The same call gives the same load in every process, so a ratio measured today meets the one measured tomorrow on
//! the same input. The ratio bench and the criterion benches share this module; it only builds, it never measures,
//! and it knows no more of the crate than its priorities, so that every opponent can be fed from it too.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each bench uses its share of what is here"
)]

use tenfold::Priority;

/// The seed of every load that does not ask for its own.
pub const SEED: u64 = 0x007E_F01D;

/// A small generator (`SplitMix64`): seeded, fast, the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that gives the same numbers for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * (bound as u128);
        usize::try_from(wide >> 64).expect("below a bound that is a usize")
    }

    /// True `percent` times in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which is not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// How priorities are spread over the ten levels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Levels {
    /// Each level is as likely as the next.
    Uniform,
    /// Nine in ten at level 1, most of the rest at level 5, a few anywhere: what hosts that use priorities send.
    Skewed,
    /// Everything at level 5.
    One,
}

impl Levels {
    /// All three, for a bench that measures each.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Skewed, Self::One];

    /// The word for this spread in the name of a line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Skewed => "skewed",
            Self::One => "one",
        }
    }

    /// The next priority of this spread.
    pub fn draw(self, random: &mut Random) -> Priority {
        let level = match self {
            Self::Uniform => 1 + random.below(Priority::LEVELS),
            Self::Skewed => match random.below(100) {
                0..90 => 1,
                90..98 => 5,
                _ => 1 + random.below(Priority::LEVELS),
            },
            Self::One => 5,
        };
        u8::try_from(level)
            .ok()
            .and_then(|level| Priority::new(level).ok())
            .expect("between 1 and 10")
    }

    /// `count` priorities of this spread.
    #[must_use]
    pub fn take(self, count: usize, seed: u64) -> Vec<Priority> {
        let mut random = Random::new(seed);
        (0..count).map(|_| self.draw(&mut random)).collect()
    }
}

/// A deployment as plain data, in the fields that filters and planning look at.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Unique over all flows, and its order is not the order of creation.
    pub name: String,
    /// Index of its flow, below [`FLOWS`].
    pub flow: usize,
    /// None to five distinct words of [`TAGS`], a few of them much more often than the rest.
    pub tags: Vec<&'static str>,
    /// Index of its work queue, below [`QUEUES`].
    pub queue: usize,
    /// Its priority, skewed.
    pub priority: Priority,
    /// One in ten is paused.
    pub paused: bool,
    /// Its own concurrency limit, 1 to 64; one in three has one.
    pub limit: Option<u32>,
    /// When it was made, in seconds since the first one. All differ.
    pub created: u32,
}

/// How many flows the deployments belong to.
pub const FLOWS: usize = 1_000;
/// How many work queues they are spread over.
pub const QUEUES: usize = 20;
/// The tags there are, the most frequent first.
pub const TAGS: [&str; 24] = [
    "etl", "prod", "daily", "team-a", "team-b", "eu", "us", "critical", "hourly", "ml", "finance", "crm",
    "gdpr", "batch", "ingest", "export", "report", "legacy", "canary", "gpu", "weekly", "audit", "search",
    "archive",
];
/// The words that names are put together from.
const WORDS: [&str; 24] = [
    "orders", "users", "invoice", "ledger", "sync", "report", "clean", "train", "score", "index", "mail",
    "export", "import", "merge", "audit", "price", "stock", "click", "event", "photo", "video", "token",
    "route", "trade",
];

/// `count` deployments in the order of their making.
#[must_use]
pub fn deployments(count: usize, seed: u64) -> Vec<Deployment> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|index| Deployment {
            name: format!(
                "{}-{}-{:07}",
                random.pick(&WORDS),
                random.pick(&WORDS),
                // An odd factor modulo a power of two permutes, so no two names are equal.
                index.wrapping_mul(0x9E37_79B1) % (1 << 28)
            ),
            flow: random.below(FLOWS),
            tags: tags(&mut random),
            queue: random.below(QUEUES),
            priority: Levels::Skewed.draw(&mut random),
            paused: random.percent(10),
            limit: random
                .percent(33)
                .then(|| 1 + u32::try_from(random.below(64)).expect("below 64")),
            created: u32::try_from(index).expect("fewer than four thousand million deployments"),
        })
        .collect()
}

/// None to five distinct tags; the square of a uniform number makes the first ones frequent.
fn tags(random: &mut Random) -> Vec<&'static str> {
    let wanted = random.below(6);
    let mut tags = Vec::with_capacity(wanted);
    while tags.len() < wanted {
        let rank = random.below(TAGS.len()) * random.below(TAGS.len()) / TAGS.len();
        if !tags.contains(&TAGS[rank]) {
            tags.push(TAGS[rank]);
        }
    }
    tags
}

/// A run to be submitted, as plain data.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Index of its deployment; a tenth of the deployments get nine in ten of the runs.
    pub deployment: usize,
    /// Its priority.
    pub priority: Priority,
    /// When it becomes due, in milliseconds from the start: none for three in four, else up to an hour.
    pub due_ms: u32,
    /// Bytes of its parameters, 0 to 255.
    pub payload: u8,
}

/// `count` runs over `deployments` deployments, which is not zero.
#[must_use]
pub fn runs(count: usize, deployments: usize, levels: Levels, seed: u64) -> Vec<Run> {
    let mut random = Random::new(seed);
    let hot = (deployments / 10).max(1);
    (0..count)
        .map(|_| Run {
            deployment: if random.percent(90) {
                random.below(hot)
            } else {
                random.below(deployments)
            },
            priority: levels.draw(&mut random),
            due_ms: if random.percent(75) {
                0
            } else {
                u32::try_from(random.below(3_600_000)).expect("an hour has fewer milliseconds")
            },
            payload: u8::try_from(random.below(256)).expect("below 256"),
        })
        .collect()
}
