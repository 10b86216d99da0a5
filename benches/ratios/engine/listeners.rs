//! What it costs a run that somebody listens.

use std::any::Any;

use tenfold::engine::{Follow, Hook};
use tenfold::{Engine, Scope};

use super::{WIDE, limited, through};
use crate::frame::{Bench, Goal, Side, timed_with};
use crate::workload::{Levels, SEED};

/// A run's whole way on one thread, while somebody listens. What was heard is let go of between the rounds, and does not count.
fn beside(listen: impl Fn(&Engine) -> Box<dyn Any> + 'static) -> Side {
    const RUNS: usize = 20_000;
    let engine = limited(WIDE);
    let levels = Levels::Uniform.take(RUNS, SEED);
    let listened = engine.clone();
    timed_with(
        RUNS,
        move || listen(&listened),
        move |heard| {
            let scope = Scope::all();
            for &priority in &levels {
                through(&engine, &scope, priority);
            }
            heard
        },
    )
}

/// What it costs a run that somebody listens: with nobody there is one look at a flag for each state.
pub fn lines(bench: &mut Bench) {
    let follow = |follow: Follow| {
        move |engine: &Engine| -> Box<dyn Any> {
            Box::new(engine.events(follow).expect("there is room for a stream"))
        }
    };
    let nobody = || beside(|_| Box::new(()));
    bench.versus("dispatch/one_thread/states_to_nobody", Goal::at_most(1.5), || {
        (beside(follow(Follow::states().capacity(1_000_000))), nobody())
    });
    bench.versus("dispatch/one_thread/rows_to_nobody", Goal::at_most(4.0), || {
        (beside(follow(Follow::rows().capacity(1_000_000))), nobody())
    });
    bench.versus("dispatch/one_thread/hook_to_nobody", Goal::at_most(1.5), || {
        let hooked = beside(|engine| {
            // The line of the last round goes with the hook.
            let _ = engine.unhook("told");
            engine.hook(Hook::named("told")).expect("a name is enough");
            Box::new(())
        });
        (hooked, nobody())
    });
}
