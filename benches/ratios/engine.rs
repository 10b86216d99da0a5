//! The engine as a whole: handing out work, looking at it, and what a waiting run costs.
//!
//! | group | what is measured |
//! |---|---|
//! | `dispatch/` | a run on its way from submission to completion, alone, in a runtime, at depth, behind a full limit |
//! | `snapshot/` | the queue status report, idle and under traffic |
//! | `history/` | the one point at which every change takes effect |
//! | `memory/` | a waiting run |

mod dispatch;
mod glue;
mod listeners;

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use serde_json::Value;
use tenfold::clock::{Clock, Now};
use tenfold::limit::{LimitSpec, Mode};
use tenfold::{
    Engine, EngineBuilder, NewDeployment, NewRun, Outcome, Priority, Schedule, Scope, engine::Claim,
};
use tokio::runtime::Runtime as Tokio;

use self::glue::Glue;
use crate::counting::held;
use crate::frame::{
    Bench, Goal, Side, Unit, figure, now, once, per_operation, quantile, timed, timed_with, together,
};
use crate::workload::{Levels, Random, SEED};

/// Lines of the groups `dispatch`, `snapshot`, `history` and `memory`.
pub fn lines(bench: &mut Bench) {
    dispatch::lines(bench);
    listeners::lines(bench);
    depth(bench);
    planning(bench);
    snapshot(bench);
    history(bench);
    memory(bench);
}

// ------------------------------------------------------------------------------------------------- what they share

/// The limit of the engine and of the deployment in every line about dispatch.
const SLOTS: u32 = 64;
/// A limit that is never reached.
const WIDE: u32 = 1_000_000;

/// An engine's settings with room for what the lines put in.
fn roomy() -> EngineBuilder {
    Engine::builder()
        .seed(SEED)
        .waiting_runs(4_000_000)
        .scheduled_runs(4_000_000)
        .deployments(1_000_000)
}

/// An engine with a limit of its own, and the deployment `work/own` with the same limit.
fn limited(slots: u32) -> Engine {
    let engine = roomy().limit(slots).build().expect("the settings fit together");
    deploy(&engine, "own", Some(slots));
    engine
}

fn deploy(engine: &Engine, name: &str, limit: Option<u32>) {
    let mut new = NewDeployment::new("work", name);
    if let Some(limit) = limit.and_then(NonZeroU32::new) {
        new = new.concurrency_limit(limit);
    }
    engine.deploy(new).expect("a new name");
}

fn submit(engine: &Engine, target: &str, priority: Priority) {
    engine
        .submit(NewRun::of(target).priority(priority))
        .expect("there is room");
}

fn claim(engine: &Engine, scope: &Scope) -> Claim {
    engine
        .claim(scope)
        .expect("the scope is known")
        .expect("a run waits and its limits have room")
}

fn complete(engine: &Engine, claim: &Claim) {
    engine
        .complete(claim, Outcome::Completed(Value::Null))
        .expect("the attempt has not ended");
}

/// A run's whole way on one thread.
fn through(engine: &Engine, scope: &Scope, priority: Priority) {
    submit(engine, "work/own", priority);
    let claim = claim(engine, scope);
    engine.begin(&claim).expect("it was just claimed");
    complete(engine, &claim);
}

/// The same with the glue.
fn through_glue(glue: &Glue, priority: Priority) {
    glue.submit("work", priority);
    let id = glue.claim().expect("a run waits and there is room");
    black_box(glue.begin(id));
    black_box(glue.complete(id, Value::Null));
}

/// A tokio runtime with two workers, which the bench's own thread is not one of.
fn tokio() -> Tokio {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the machine has threads")
}

// ----------------------------------------------------------------------------------------------------------- depth

/// Claims of one round where what waits is what matters.
const CLAIMS: usize = 1_000;
const MILLION: usize = 1_000_000;

fn depth(bench: &mut Bench) {
    bench.versus("dispatch/claim/million_blocked", Goal::at_most(1.5), || {
        (claims_beside(MILLION), claims_beside(0))
    });
    // L4: what is behind a full limit costs a claim of another run nothing.
    let blocked = [1_000, 10_000, 100_000, 300_000, MILLION];
    bench.growth(
        "dispatch/claim/blocked",
        &blocked,
        Goal::at_most(1.5),
        claims_beside,
    );
    bench.absolute(
        "dispatch/claim/million_blocked/slowest",
        Goal::shown(Unit::Nanos),
        || {
            let (engine, scope) = (beside_blocked(MILLION, false), Scope::all());
            figure(move || {
                // The first round finds the limit free, with the million behind it.
                let mut spans = Vec::with_capacity(10 * CLAIMS);
                for _ in 0..10 * CLAIMS {
                    submit(&engine, "work/free", Priority::MIN);
                    let before = now();
                    let claim = claim(&engine, &scope);
                    spans.push(per_operation(before.elapsed(), 1));
                    if claim.priority() == Priority::MIN {
                        complete(&engine, &claim);
                    }
                }
                quantile(&mut spans, 1.0)
            })
        },
    );
    bench.versus(
        "dispatch/claim/million_blocked/weights",
        Goal::at_most(1.5),
        || (claims_of(behind_weights(MILLION)), claims_of(behind_weights(0))),
    );
    sets(bench);
    let sizes = [1_000, 10_000, 100_000, 300_000, MILLION];
    bench.growth("dispatch/depth", &sizes, Goal::at_most(3.0), |size| {
        let (engine, scope) = (limited(WIDE), Scope::all());
        let mut random = Random::new(SEED);
        for _ in 0..size {
            submit(&engine, "work/own", Levels::Uniform.draw(&mut random));
        }
        figure(move || {
            let start = now();
            for _ in 0..CLAIMS {
                let claim = claim(&engine, &scope);
                engine.begin(&claim).expect("it was just claimed");
                complete(&engine, &claim);
            }
            let took = start.elapsed();
            for _ in 0..CLAIMS {
                submit(&engine, "work/own", Levels::Uniform.draw(&mut random));
            }
            per_operation(took, CLAIMS)
        })
    });
}

/// An engine with `blocked` urgent runs behind the limit of `work/narrow`, which is full if `full`.
fn beside_blocked(blocked: usize, full: bool) -> Engine {
    let engine = roomy().build().expect("the settings fit together");
    deploy(&engine, "narrow", Some(1));
    deploy(&engine, "free", None);
    for _ in 0..blocked {
        submit(&engine, "work/narrow", Priority::MAX);
    }
    if full && blocked > 0 {
        claim(&engine, &Scope::all());
    }
    engine
}

/// Claims of free runs that stand behind `blocked` runs of a full limit.
fn claims_beside(blocked: usize) -> Side {
    claims_of(beside_blocked(blocked, true))
}

/// An engine with `blocked` urgent runs that need one to four slots of the named limit `gpu`, which is full.
fn behind_weights(blocked: usize) -> Engine {
    let engine = roomy().build().expect("the settings fit together");
    deploy(&engine, "free", None);
    engine.define_limit(LimitSpec::new("gpu", 4)).expect("a new name");
    for weight in 1..=4 {
        let new = NewDeployment::new("work", format!("needs{weight}")).slots("gpu", weight);
        engine.deploy(new).expect("a new name");
    }
    engine
        .increment_slots(&["gpu"], 4, Mode::Concurrency)
        .expect("it is free");
    for run in 0..blocked {
        submit(&engine, &format!("work/needs{}", 1 + run % 4), Priority::MAX);
    }
    engine
}

/// 100,000 urgent runs, each with a set of limits of its own: the shared ones and its tenant's.
fn tenants(shared: &[&str]) -> Engine {
    let engine = roomy()
        .limits(200_000)
        .build()
        .expect("the settings fit together");
    deploy(&engine, "free", None);
    for limit in shared.iter().chain(&["tenant:*"]) {
        engine
            .define_limit(LimitSpec::new(*limit, 1))
            .expect("a new name");
    }
    for tenant in 0..100_000 {
        let new = NewRun::of("work").priority(Priority::MAX);
        let new = shared.iter().fold(new, |new, limit| new.slot(*limit));
        engine
            .submit(new.slot(format!("tenant:{tenant}")))
            .expect("there is room");
    }
    engine
}

/// The slowest single step where sets of limits differ.
fn sets(bench: &mut Bench) {
    let slowest = |mut spans: Vec<f64>| quantile(&mut spans, 1.0);
    bench.absolute(
        "dispatch/claim/100000_sets/slowest",
        Goal::shown(Unit::Nanos),
        move || {
            let (engine, scope) = (tenants(&["shared"]), Scope::all());
            figure(move || {
                // The shared limit was free when they came; the first claim fills it, and each end lets in the next.
                let mut spans = Vec::with_capacity(2 * CLAIMS);
                for _ in 0..CLAIMS {
                    submit(&engine, "work/free", Priority::MIN);
                    let before = now();
                    let urgent = claim(&engine, &scope);
                    let between = now();
                    let free = claim(&engine, &scope);
                    spans.push(per_operation(between.duration_since(before), 1));
                    spans.push(per_operation(between.elapsed(), 1));
                    complete(&engine, &urgent);
                    complete(&engine, &free);
                }
                slowest(spans)
            })
        },
    );
    bench.absolute(
        "dispatch/release/100000_sets/slowest",
        Goal::shown(Unit::Nanos),
        move || {
            let (engine, scope) = (tenants(&["shared"]), Scope::all());
            figure(move || {
                let mut spans = Vec::with_capacity(CLAIMS);
                for _ in 0..CLAIMS {
                    let urgent = claim(&engine, &scope);
                    let before = now();
                    complete(&engine, &urgent);
                    spans.push(per_operation(before.elapsed(), 1));
                }
                slowest(spans)
            })
        },
    );
    // What defeats the gates: two shared limits, never free together, move every set from one to the other.
    bench.absolute(
        "dispatch/release/100000_sets/full_in_turn",
        Goal::shown(Unit::Nanos),
        move || {
            let engine = roomy()
                .limits(200_000)
                .build()
                .expect("the settings fit together");
            deploy(&engine, "free", None);
            engine
                .define_limit(LimitSpec::new("tenant:*", 1))
                .expect("a new name");
            let take = |engine: &Engine, limit: &str| {
                let taken = engine.increment_slots(&[limit], 1, Mode::Concurrency);
                taken.expect("it is free");
            };
            for limit in ["a", "b"] {
                engine.define_limit(LimitSpec::new(limit, 1)).expect("a new name");
                take(&engine, limit);
            }
            for tenant in 0..100_000 {
                let new = NewRun::of("work").slot("a").slot("b");
                engine
                    .submit(new.slot(format!("tenant:{tenant}")))
                    .expect("there is room");
            }
            figure(move || {
                let mut spans = Vec::new();
                for _ in 0..2 {
                    for limit in ["a", "b"] {
                        let before = now();
                        engine
                            .decrement_slots(&[limit], 1, None)
                            .expect("it is not poisoned");
                        spans.push(per_operation(before.elapsed(), 1));
                        take(&engine, limit);
                    }
                }
                slowest(spans)
            })
        },
    );
}

/// Claims of free runs, which stand behind all that wait for limits.
fn claims_of(engine: Engine) -> Side {
    let scope = Scope::all();
    figure(move || {
        for _ in 0..CLAIMS {
            submit(&engine, "work/free", Priority::MIN);
        }
        let mut claims = Vec::with_capacity(CLAIMS);
        let start = now();
        for _ in 0..CLAIMS {
            claims.push(claim(&engine, &scope));
        }
        let took = start.elapsed();
        for claim in &claims {
            complete(&engine, claim);
        }
        per_operation(took, CLAIMS)
    })
}

/// 100,000 deployments with a daily schedule each; three runs are planned for every one when it is resumed.
fn planning(bench: &mut Bench) {
    const DEPLOYMENTS: usize = 100_000;
    const RUNS: usize = 3;
    bench.absolute(
        "dispatch/plan/100000_deployments_of_3",
        Goal::under(3_000.0, Unit::Nanos),
        || {
            let engine = roomy()
                .planned_runs(RUNS, RUNS)
                .build()
                .expect("the settings fit together");
            let mut random = Random::new(SEED);
            let ids: Vec<_> = (0..DEPLOYMENTS)
                .map(|number| {
                    let (minute, hour) = (random.below(60), random.below(24));
                    let daily = Schedule::cron(&format!("{minute} {hour} * * *"), "Europe/Berlin")
                        .expect("five valid fields");
                    let new = NewDeployment::new("work", format!("d{number}"))
                        .schedule(daily)
                        .paused();
                    engine.deploy(new).expect("a new name").id
                })
                .collect();
            let ids = Arc::new(ids);
            let (paused, resumed) = ((engine.clone(), ids.clone()), (engine, ids));
            timed_with(
                DEPLOYMENTS * RUNS,
                move || {
                    for &id in paused.1.iter() {
                        paused.0.pause_deployment(id).expect("it is there");
                    }
                },
                move |()| {
                    for &id in resumed.1.iter() {
                        resumed.0.resume_deployment(id).expect("it is there");
                    }
                    let planned = resumed.0.snapshot().scheduled;
                    assert_eq!(planned, DEPLOYMENTS * RUNS, "three runs for each");
                },
            )
        },
    );
}

// -------------------------------------------------------------------------------------------------------- snapshot

fn snapshot(bench: &mut Bench) {
    const READS: usize = 200_000;
    bench.absolute("snapshot/idle", Goal::under(500.0, Unit::Nanos), || {
        let engine = limited(SLOTS);
        for priority in Levels::Uniform.take(10_000, SEED) {
            submit(&engine, "work/own", priority);
        }
        timed(READS, move || {
            for _ in 0..READS {
                black_box(engine.snapshot());
            }
        })
    });
    // A reader that wakes a thousand times a second, beside one producer and one consumer that never pause.
    bench.versus(
        "snapshot/traffic/p99/one_lock",
        Goal::under(20_000.0, Unit::Nanos),
        || {
            let (engine, glue) = (limited(WIDE), Glue::new(WIDE));
            (
                figure(move || {
                    let traffic = Traffic::of_engine(&engine);
                    traffic.read(1, &mut || {
                        black_box(engine.snapshot());
                    })
                }),
                figure(move || {
                    let traffic = Traffic::of_glue(&glue);
                    traffic.read(1, &mut || {
                        black_box(glue.status());
                    })
                }),
            )
        },
    );
    // The same traffic with a reader that takes twenty snapshots each time, and with one that wakes as often and takes none.
    bench.versus("snapshot/traffic/cost_of_20000", Goal::at_most(1.05), || {
        let (read, unread) = (limited(WIDE), limited(WIDE));
        (
            figure(move || {
                Traffic::of_engine(&read).cost(&mut || {
                    for _ in 0..20 {
                        black_box(read.snapshot());
                    }
                })
            }),
            figure(move || Traffic::of_engine(&unread).cost(&mut || ())),
        )
    });
}

/// One producer and one consumer, and a reader beside them that wakes a thousand times a second.
struct Traffic<'a> {
    /// Submits one, if there is room.
    produce: Box<dyn Fn(Priority) + Send + Sync + 'a>,
    /// Takes one through, if one waits; says whether.
    consume: Box<dyn Fn() -> bool + Send + Sync + 'a>,
    produced: AtomicU64,
    consumed: AtomicU64,
    over: AtomicBool,
}

/// Most runs that wait between the producer and the consumer.
const BACKLOG: u64 = 10_000;
/// How long a round of traffic lasts, in milliseconds: one reading in each.
const ROUND: u32 = 400;

impl<'a> Traffic<'a> {
    fn new(
        produce: impl Fn(Priority) + Send + Sync + 'a,
        consume: impl Fn() -> bool + Send + Sync + 'a,
    ) -> Self {
        Self {
            produce: Box::new(produce),
            consume: Box::new(consume),
            produced: AtomicU64::new(0),
            consumed: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    fn of_engine(engine: &'a Engine) -> Self {
        let scope = Scope::all();
        Self::new(
            |priority| submit(engine, "work/own", priority),
            move || {
                let Ok(Ok(claim)) = engine.claim(&scope) else {
                    return false;
                };
                engine.begin(&claim).expect("it was just claimed");
                complete(engine, &claim);
                true
            },
        )
    }

    fn of_glue(glue: &'a Glue) -> Self {
        Self::new(
            |priority| {
                glue.submit("work", priority);
            },
            || {
                glue.claim().is_some_and(|id| {
                    glue.begin(id);
                    glue.complete(id, Value::Null)
                })
            },
        )
    }

    /// Lets it run for a round, with `look` called once a millisecond; says how long each look took, and the round.
    fn run(&self, look: &mut (dyn FnMut() + Send)) -> (Vec<f64>, Duration) {
        let mut spans = Vec::with_capacity(ROUND as usize);
        let took = together(vec![
            Box::new(|| {
                let mut random = Random::new(SEED);
                while !self.over.load(Relaxed) {
                    if self.produced.load(Relaxed) - self.consumed.load(Relaxed) < BACKLOG {
                        (self.produce)(Levels::Uniform.draw(&mut random));
                        self.produced.fetch_add(1, Relaxed);
                    } else {
                        std::thread::yield_now();
                    }
                }
            }),
            Box::new(|| {
                while !self.over.load(Relaxed) {
                    if (self.consume)() {
                        self.consumed.fetch_add(1, Relaxed);
                    } else {
                        std::thread::yield_now();
                    }
                }
            }),
            Box::new(|| {
                for _ in 0..ROUND {
                    std::thread::sleep(Duration::from_millis(1));
                    let before = now();
                    look();
                    spans.push(per_operation(before.elapsed(), 1));
                }
                self.over.store(true, Relaxed);
            }),
        ]);
        // The next round begins with an empty queue.
        while (self.consume)() {}
        (spans, took)
    }

    /// The time that all but `1` of a hundred looks stay below.
    fn read(&self, percent: u32, look: &mut (dyn FnMut() + Send)) -> f64 {
        let (mut spans, _) = self.run(look);
        quantile(&mut spans, 1.0 - f64::from(percent) / 100.0)
    }

    /// What a run cost while the reader read.
    fn cost(&self, look: &mut (dyn FnMut() + Send)) -> f64 {
        let (_, took) = self.run(look);
        let consumed = usize::try_from(self.consumed.load(Relaxed)).expect("a count of things done");
        per_operation(took, consumed.max(1))
    }
}

// --------------------------------------------------------------------------------------------------------- history

/// A clock that always says the same, so that the line below is about the engine's order and not about clocks.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Now {
        Now {
            wall: chrono::DateTime::UNIX_EPOCH,
            mono: Duration::ZERO,
        }
    }
}

/// The least change there is (the engine's limit, set to what it was), by two threads: what remains is the point that
/// every change passes.
fn history(bench: &mut Bench) {
    const CHANGES: usize = 500_000;
    bench.versus("history/order/2_threads/fetch_add", Goal::at_most(3.0), || {
        let engine = roomy().clock(Still).build().expect("the settings fit together");
        let counter = Arc::new(AtomicU64::new(0));
        (
            figure(move || {
                let change = || {
                    for _ in 0..CHANGES {
                        black_box(engine.set_limit(None).expect("it is not poisoned"));
                    }
                };
                let took = together(vec![Box::new(change), Box::new(change)]);
                per_operation(took, 2 * CHANGES)
            }),
            figure(move || {
                let add = || {
                    for _ in 0..CHANGES {
                        black_box(counter.fetch_add(1, SeqCst));
                    }
                };
                let took = together(vec![Box::new(add), Box::new(add)]);
                per_operation(took, 2 * CHANGES)
            }),
        )
    });
}

// ---------------------------------------------------------------------------------------------------------- memory

/// What one waiting run keeps on the heap: its row, its place in line, its share of the indexes.
#[expect(clippy::cast_precision_loss, reason = "far fewer bytes than 2^52")]
fn memory(bench: &mut Bench) {
    const RUNS: usize = 100_000;
    fn bytes(run: impl Fn(usize) -> NewRun) -> f64 {
        let engine = limited(WIDE);
        // The first run makes what all share: the list of names, the first chunk of each table.
        engine.submit("work/own").expect("there is room");
        let ((), bytes) = held(|| {
            for number in 0..RUNS {
                engine.submit(run(number)).expect("there is room");
            }
        });
        bytes as f64 / RUNS as f64
    }
    let goal = Goal::under(512.0, Unit::Bytes);
    bench.absolute("memory/waiting_run", goal, || {
        once(|| bytes(|_| NewRun::of("work/own")))
    });
    bench.absolute("memory/waiting_run/key_and_tag_of_its_own", goal, || {
        once(|| {
            bytes(|number| {
                NewRun::of("work/own")
                    .idempotency_key(format!("order-{number:08}"))
                    .tag("by-hand")
            })
        })
    });
    bench.absolute("memory/waiting_run/of_a_flow", goal, || {
        once(|| bytes(|_| NewRun::of("work")))
    });
    // No promise of the design: what a record costs that retention keeps.
    bench.absolute("memory/finished_run", Goal::shown(Unit::Bytes), || {
        once(|| {
            let engine = roomy()
                .finished_runs(RUNS + 1)
                .build()
                .expect("the settings fit together");
            deploy(&engine, "own", None);
            let scope = Scope::all();
            through(&engine, &scope, Priority::MIN);
            let ((), bytes) = held(|| (0..RUNS).for_each(|_| through(&engine, &scope, Priority::MIN)));
            bytes as f64 / RUNS as f64
        })
    });
}
