//! A copy that follows the events of a history of the model is the export, byte for byte: bypass bounds, templates, limits that come and go,
//! leases of slots, chosen claims, clocks that jump.

use proptest::prelude::*;

use super::Both;
use super::calls::op_with_names;
use crate::engine::{Follow, Replica};

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn e5_an_export_and_the_events_of_a_model_history_are_the_later_export(
        ops in prop::collection::vec(op_with_names(), 20..120), from in 0..20_usize, every in 1..40_usize,
    ) {
        let mut both = Both::with_names();
        ops[..from].iter().for_each(|op| both.apply(op));
        let mut events = both.engine.events(Follow::rows().capacity(100_000)).unwrap();
        let mut copy = Replica::new(both.engine.export().unwrap());
        for (step, op) in ops.iter().enumerate().skip(from) {
            both.apply(op);
            // To export is a call: what is due happens first, to the model too.
            both.apply(&super::calls::Op::Advance);
            if step % every == 0 {
                let now = both.engine.export().unwrap();
                while let Some(event) = events.try_next().unwrap() {
                    copy.apply(event).unwrap();
                }
                crate::engine::events::tests::assert_same(&copy.document(), &now);
            }
        }
    }
}
