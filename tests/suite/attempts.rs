//! Attempts: retries, timeouts, places in line.

use std::time::Duration;

use tenfold::engine::Outcome;
use tenfold::model::StateType;
use tenfold::{Ended, NewRun, Retry};

use crate::support::{engine, take};

#[test]
fn r5_an_attempt_that_failed_without_having_begun_uses_up_a_retry() {
    // It was counted by starts, so a worker that never called `begin` was handed the same run for ever.
    let (engine, clock) = engine();
    let retry = Retry::fixed(1, Duration::from_secs(1));
    engine.submit(NewRun::of("f").retry(retry)).unwrap();
    let first = take(&engine);
    assert_eq!(
        engine.complete(&first, Outcome::failed("no")).unwrap(),
        Ended::Retrying
    );
    clock.advance(Duration::from_secs(1));
    let second = take(&engine);
    assert_eq!(second.attempt(), 2);
    let failed = Ended::Finished(StateType::Failed);
    assert_eq!(engine.complete(&second, Outcome::failed("no")).unwrap(), failed);
    engine.submit("f").unwrap();
    assert_eq!(
        engine.complete(&take(&engine), Outcome::failed("no")).unwrap(),
        failed
    );
}
